"""``python -m audiozen``, so that ``torchrun -m audiozen`` works."""

from __future__ import annotations

import sys

from audiozen.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
