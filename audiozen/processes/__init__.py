"""The processes of one run: what they do together, and how each learns what has become of the others."""
