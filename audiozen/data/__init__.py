"""Sound on the disk to batches: files, manifests, mixing, and samples that can be repeated."""

from __future__ import annotations

__all__ = [
    "aligned",
    "audio",
    "corpus_folder",
    "distortion",
    "large_manifest",
    "manifest",
    "mixing",
    "packed",
    "packing",
    "rooms",
    "sampler",
]
