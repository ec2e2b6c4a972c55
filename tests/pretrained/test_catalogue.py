from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from audiozen.config.locate import locate
from audiozen.errors import DamagedCheckpointError, RequestError
from audiozen.metrics import si_sdr
from audiozen.pretrained import catalogue

ROOT = Path(__file__).parents[2]
PACK = ROOT / "recipes/debian_noisy_speech/audio"


@pytest.mark.parametrize("name", catalogue.names())
class TestEveryModel:
    def test_is_small_and_has_a_card_that_says_what_users_ask(self, name):
        folder = catalogue.FOLDER / name
        assert (folder / catalogue.WEIGHTS).stat().st_size <= 5_000_000
        card = (folder / catalogue.CARD).read_text()
        for word in ("## Trained on", "## Results", "## Limits", "Licence"):
            assert word in card, word

    def test_enhances_a_signal_of_its_rate_and_keeps_length_and_silence(self, name):
        pretrained = catalogue.load(name)
        assert not pretrained.model.training
        for length in (1, 300, 16001):
            assert pretrained.model(torch.zeros(1, length)).equal(torch.zeros(1, length))


def test_speech_of_unheard_voices_in_unheard_noise_comes_out_better_than_it_went_in() -> None:
    mixtures = locate("data.FrozenMixtures", [PACK.parent])(
        "mixtures_test_unseen.jsonl", "noise_test_unseen.jsonl", num_mixtures=8
    )
    model = catalogue.load("band_gain_gru").model
    gains = []
    for noisy, clean, _ in mixtures:
        with torch.no_grad():
            enhanced = model(noisy[None])[0]
        gains.append(si_sdr(enhanced, clean) - si_sdr(noisy, clean))
    assert sum(gains) / len(gains) > 1.0


def test_an_unknown_name_is_refused_with_those_that_there_are():
    with pytest.raises(
        RequestError,
        match="no pretrained model is called 'band_gain_gri': did you mean 'band_gain_gru'",
    ):
        catalogue.load("band_gain_gri")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), "is missing"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\xff"),
            "is not as it was published",
        ),
    ],
)
def test_weights_are_verified_before_they_are_used(tmp_path, monkeypatch, damage, words):
    shutil.copytree(catalogue.FOLDER / "band_gain_gru", tmp_path / "band_gain_gru")
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path)
    assert catalogue.load("band_gain_gru").model
    damage(tmp_path / "band_gain_gru" / catalogue.WEIGHTS)
    with pytest.raises(DamagedCheckpointError, match=words):
        catalogue.load("band_gain_gru")


def test_listing_them_does_not_import_their_code():
    code = (
        "import sys; from audiozen.pretrained.catalogue import names; names(); "
        "sys.exit('audiozen.pretrained.band_gain_gru' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
