"""Whether a framework is installed."""

from __future__ import annotations

from importlib.util import find_spec

PACKAGES = {"fabric": "lightning", "unseeded": "audiozen"}
"""Where a framework is not called as its package."""


def missing(name: str) -> str:
    """Why a framework cannot be run here; empty where it can."""
    package = "torch" if name == "raw" else PACKAGES.get(name, name)
    return "" if find_spec(package) else f"not installed: {package}"
