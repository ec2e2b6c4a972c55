"""The old recipes cannot be imported; that is what they are here for."""

collect_ignore_glob = ["old/*"]
