"""Experiment files: every setting once, reading and checking, from names to objects. Builds no trainer."""
