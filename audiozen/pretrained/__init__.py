"""Models that come with their weights: for each a folder with its code, settings, weights and card."""

from __future__ import annotations

__all__ = ["catalogue"]
