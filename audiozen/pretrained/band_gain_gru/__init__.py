"""A causal speech enhancer of 29,216 parameters; README.md says on what it was trained and what it reaches."""
