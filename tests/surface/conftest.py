"""What is not collected: the files of a user, which are checked and not run."""

from __future__ import annotations

collect_ignore = ["user_project"]
