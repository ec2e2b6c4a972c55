"""Tables with one record per signal: their files, their means, their text. Usable without a trainer."""

from __future__ import annotations

__all__ = ["files", "jsonl", "summary", "systems", "text"]
