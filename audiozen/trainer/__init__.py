"""Training: the loops, and the small collaborators that they ask."""
