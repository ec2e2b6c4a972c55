"""What Linux, macOS and Windows do not have in common, each difference in one place: locks, files, signals."""
