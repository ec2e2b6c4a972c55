"""Where numbers, sound and messages of a run go. Every module is usable without a trainer."""

from __future__ import annotations

__all__ = ["console", "jsonl", "tensorboard", "tracker"]
