"""Which packages there are, and whose voice or what noise each of their files is.

Splits are disjoint by voice, by noise type and by noise recording. Patterns are searched in the
path inside the unpacked package, which begins with a slash.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Profile = Literal["small", "full"]
Split = Literal["train", "valid", "test"]


@dataclass(frozen=True)
class Package:
    """A Debian package, or one from the Python package index if it has a version.

    Attributes:
        name: of the package.
        profile: ``small``: part of both profiles.
        licence: of the files used.
        version: the pinned version of a Python package.
    """

    name: str
    profile: Profile
    licence: str
    version: str | None = None


@dataclass(frozen=True)
class Voice:
    """The files of one speaker in one language. ``minutes`` bounds how much is taken."""

    package: str
    pattern: str
    speaker: str
    sex: str
    language: str
    split: Split
    minutes: float = 40


@dataclass(frozen=True)
class Noise:
    """Recordings of one type of noise. ``seconds`` bounds how much is taken of each."""

    package: str
    pattern: str
    noise_type: str
    split: Split
    seconds: int = 180


PACKAGES = [
    Package("asterisk-core-sounds-en-g722", "small", "CC-BY-SA-3.0"),
    Package("asterisk-core-sounds-es-g722", "small", "CC-BY-SA-3.0"),
    Package("asterisk-core-sounds-fr-g722", "small", "CC-BY-SA-3.0"),
    Package("asterisk-core-sounds-it-g722", "small", "CC-BY-3.0"),
    Package("asterisk-core-sounds-ru-g722", "small", "CC-BY-3.0"),
    Package("fillets-ng-data-cs", "small", "GPL-2"),
    Package("ufoai-sound", "small", "GPL-2+, CC-BY-3.0 or CC-BY-SA-3.0, by file"),
    Package("asterisk-moh-opsound-g722", "small", "CC-BY-SA-3.0"),
    Package("bucklespring-data", "small", "GPL-2+"),
    Package("festvox-ru", "full", "BSD-like"),
    Package("tuxpaint-stamps-default", "full", "GPL-2"),
    Package("ktuberling-data", "full", "GPL-2+"),
    Package("lincity-ng-data", "full", "GPL-2+"),
    Package("scratch", "full", "CC-BY-SA-3.0"),
    Package("searchandrescue-data", "full", "GPL"),
    Package("ambience", "small", "MIT", version="1.1.0"),
]

_TUXPAINT, _KTUBERLING, _FILLETS = (
    "tuxpaint-stamps-default",
    "ktuberling-data",
    "fillets-ng-data-cs",
)
_SOUND = r".*\.(ogg|wav|opus)$"

VOICES = [
    # One woman in two languages: both on the same side of the split.
    Voice("asterisk-core-sounds-en-g722", r"\.g722$", "allison", "f", "en", "train"),
    Voice("asterisk-core-sounds-es-g722", r"\.g722$", "allison", "f", "es", "train"),
    Voice(_FILLETS, r"-v-[^/]*\.ogg$", "fcs_v", "m", "cs", "train"),
    Voice(_FILLETS, r"-m-[^/]*\.ogg$", "fcs_m", "f", "cs", "train"),
    Voice(_FILLETS, r"/cs/(?!.*-[mv]-)[^/]*\.ogg$", "fcs_cast", "?", "cs", "train"),
    Voice("festvox-ru", r"/wav/ru_\d+\.wav$", "nshmyrev", "m", "ru", "train", minutes=45),
    Voice(_TUXPAINT, r"_desc_ro\.ogg$", "tux_ro", "f", "ro", "train"),
    Voice(_TUXPAINT, r"_desc_bg\.ogg$", "tux_bg", "m", "bg", "train"),
    Voice(_TUXPAINT, r"_desc_be\.ogg$", "tux_be", "f", "be", "train"),
    Voice(_TUXPAINT, r"_desc_ru\.ogg$", "tux_ru", "m", "ru", "train"),
    Voice(_TUXPAINT, r"_desc_da\.ogg$", "tux_da", "m", "da", "train"),
    Voice(_KTUBERLING, rf"/sounds/ca/{_SOUND}", "kt_ca", "f", "ca", "train"),
    Voice(_KTUBERLING, rf"/sounds/lt/{_SOUND}", "kt_lt", "m", "lt", "train"),
    Voice("asterisk-core-sounds-fr-g722", r"\.g722$", "june", "f", "fr", "valid"),
    Voice(_KTUBERLING, rf"/sounds/nn/{_SOUND}", "kt_nn", "?", "nn", "valid"),
    Voice("asterisk-core-sounds-it-g722", r"\.g722$", "carlo", "m", "it", "test"),
    Voice("asterisk-core-sounds-ru-g722", r"\.g722$", "ivrru", "f", "ru", "test"),
]

NOT_SPEECH = re.compile(
    r"beep|/silence/|monkeys\.g722|tone\.g722|ring|-x-|-room-|music|hudba|smich|kytara",
    re.IGNORECASE,
)
"""Files of the packages above that hold a tone, a laugh, a tune or nothing."""

_UFOAI, _LINCITY = "ufoai-sound", "lincity-ng-data"

NOISES = [
    Noise(_UFOAI, r"ambience/(city_abnd_ufoai_atm|sand-city)", "city", "train"),
    Noise(
        _UFOAI,
        r"ambience/(minepump03|machine1|alien-generator|alien-ventilation|alienpowermachinery1|alienmachinery[123]"
        r"|alien-device|hum2?|droning_long)\.",
        "machine",
        "train",
    ),
    Noise(_UFOAI, r"ambience/(arcticwind|wind_turbine|ufo_night_atm)\.", "wind", "train"),
    Noise(_UFOAI, r"ambience/thunder[123]\.", "storm", "train"),
    Noise(_UFOAI, r"ugv/(diesel-move|hover-move)\.", "vehicle", "train"),
    Noise(_UFOAI, r"misc/break(glass|metal|wood)\d+\.", "crash", "train"),
    Noise(
        _LINCITY,
        r"/sounds/(Industry|CoalMine|OreMine|Blacksmith|Mill|Pottery|Power|Recycle|Tip)[^/]*\.wav$",
        "industry",
        "train",
    ),
    Noise(
        _LINCITY,
        r"/sounds/(Market|Residential|Shanty|Commune|School|Trafic|RailTrain|Harbor|FireStation|DirtTrack)[^/]*\.wav$",
        "town",
        "train",
    ),
    Noise(_LINCITY, r"/sounds/(Farm|Green|OrganicFarm|Parkland)[^/]*\.wav$", "farm", "train"),
    Noise("scratch", r"Sounds/(Effects|Human|Animal)/", "household", "train"),
    Noise("ambience", r"nature/amazon-rainforest\.ogg$", "rainforest", "valid"),
    Noise(_UFOAI, r"ambience/(fire|fire1|fire2|smallfire|firesoft)\.ogg$", "fire", "valid"),
    Noise("ambience", r"town/train\.ogg$", "train", "test"),
    Noise(_UFOAI, r"ambience/(waterfontain|water01)\.ogg$", "water", "test"),
    Noise("asterisk-moh-opsound-g722", r"\.g722$", "music", "test", seconds=90),
    Noise(
        "searchandrescue-data",
        r"sounds/(helicopter_engine_|jet_engine_|hh6\d/engine_)[^/]*\.wav$",
        "engine",
        "test",
    ),
]

TYPING = "bucklespring-data"
"""Single key presses, of which typing is composed."""

_SENTENCES = r"/[a-z]{2,4}-[^/]*\.g722$"

BABBLE: dict[Split, list[tuple[str, str]]] = {
    "train": [
        (_TUXPAINT, r"_desc_fr\.ogg$"),
        (_TUXPAINT, r"_desc_ru\.ogg$"),
        (_TUXPAINT, r"_desc_ro\.ogg$"),
        (_KTUBERLING, r"/sounds/(da|de|fr|ru|ca)/"),
        (_FILLETS, r"-[vm]-[^/]*\.ogg$"),
        ("asterisk-core-sounds-en-g722", _SENTENCES),
    ],
    "valid": [
        (_TUXPAINT, r"_desc_ca\.ogg$"),
        (_KTUBERLING, r"/sounds/(nn|uk|gl)/"),
        ("asterisk-core-sounds-fr-g722", _SENTENCES),
    ],
    "test": [(_TUXPAINT, r"_desc_(el|es)\.ogg$"), (_KTUBERLING, r"/sounds/(en|el|sl|wa)/")],
}
"""Voices that are mixed to babble. Those of ``test`` are neither heard in training nor to be enhanced."""

BABBLE_FALLBACK = ("asterisk-core-sounds-fr-g722", _SENTENCES)
"""Where a split has no such voices (test, in the small profile): the voice of validation."""


def packages_of(profile: Profile) -> list[Package]:
    """Packages that a profile is built from."""
    return [package for package in PACKAGES if profile in (package.profile, "full")]
