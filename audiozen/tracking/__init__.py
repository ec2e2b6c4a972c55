"""Where numbers, sound and messages of a run go. Every module is usable without a trainer."""
