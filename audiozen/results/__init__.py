"""What runs have left behind, read back: usable without a trainer, and without PyTorch."""
