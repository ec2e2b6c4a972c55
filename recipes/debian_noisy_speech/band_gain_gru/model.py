"""The model of this recipe. It comes with the package, trained: see ``audiozen/pretrained/band_gain_gru/model.py``."""

from audiozen.pretrained.band_gain_gru.model import BandGainGRU

__all__ = ["BandGainGRU"]
