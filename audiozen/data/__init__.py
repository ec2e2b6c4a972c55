"""Sound on the disk to batches: files, manifests, mixing, and samples that can be repeated."""
