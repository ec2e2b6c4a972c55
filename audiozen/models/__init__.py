"""Models that more than one recipe uses, one per file."""
