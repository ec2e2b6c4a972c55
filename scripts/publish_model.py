"""Put the weights of a checkpoint into the package, for ``audiozen predict --model NAME``.

    python scripts/publish_model.py exp/band_gain_gru/checkpoints/best band_gain_gru

The folder of the model must be there, with ``model.py``, ``model.toml`` and a card. Writes ``weights.safetensors``, and
its hash into ``model.toml``; refuses weights that do not fit the model, and files of more than 5 MB.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import tomllib
from pathlib import Path

import safetensors.torch

from audiozen.config.instantiate import instantiate
from audiozen.durable_files import replace_file
from audiozen.pretrained.catalogue import FOLDER, SETTINGS, WEIGHTS
from audiozen.trainer.weights import read_weights

MAX_BYTES = 5_000_000


def publish(checkpoint: Path, name: str) -> int:
    """Write the weights; how many numbers they are."""
    (weights,) = read_weights(checkpoint).values()
    content = safetensors.torch.save(dict(weights))
    if len(content) > MAX_BYTES:
        raise SystemExit(f"{checkpoint}: {len(content)} bytes, more than the {MAX_BYTES} allowed")
    settings = FOLDER / name / SETTINGS
    text = settings.read_text(encoding="utf-8")
    instantiate(**tomllib.loads(text)["model"]).load_state_dict(weights)  # or it does not fit
    line = f'sha256 = "{hashlib.sha256(content).hexdigest()}"'
    replace_file(FOLDER / name / WEIGHTS, content)
    replace_file(settings, re.sub(r'^sha256 = ".*"$', line, text, flags=re.MULTILINE).encode())
    return sum(weight.numel() for weight in weights.values())


def main() -> None:
    """Read the command line, and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="folder of a checkpoint")
    parser.add_argument("name", help="folder in audiozen/pretrained")
    options = parser.parse_args()
    sys.stdout.write(f"{publish(options.checkpoint, options.name):,} numbers\n")


if __name__ == "__main__":
    main()
