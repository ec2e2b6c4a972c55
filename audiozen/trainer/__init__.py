"""Training: the loops, and the small collaborators that they ask."""

from __future__ import annotations

__all__ = ["base_trainer", "checkpoint", "schedules", "state"]
