"""What runs have left behind, read back: usable without a trainer, and without PyTorch."""

from __future__ import annotations

__all__ = [
    "comparison",
    "comparison_text",
    "difference",
    "leaderboard",
    "question",
    "run",
    "scores",
    "statistics",
]
