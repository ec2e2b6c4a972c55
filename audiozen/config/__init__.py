"""Experiment files: every setting once, reading and checking, from names to objects. Builds no trainer."""

from __future__ import annotations

__all__ = ["reader", "schema"]
