"""Models at work: as files for other runtimes, on sound that still comes in, and on recordings of any length."""

from __future__ import annotations

__all__ = ["export", "jobs", "live", "predictor"]
