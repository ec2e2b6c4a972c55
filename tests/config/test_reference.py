from __future__ import annotations

from pathlib import Path

from audiozen.config.reference import meanings, settings_page
from audiozen.config.schema import DataLoaderConfig, MetaConfig, TrainerConfig
from audiozen.config.settings import kinds_of

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_committed_page_is_made_of_the_schema() -> None:
    command = "python -m audiozen.config.reference > docs/settings.md"
    assert PAGE.read_text(encoding="utf-8") == settings_page(), f"make it again: {command}"


def test_every_setting_has_a_meaning() -> None:
    for cls in (MetaConfig, TrainerConfig, DataLoaderConfig):
        for name in kinds_of(cls):
            assert f"| `{name}` |" in settings_page()
            assert meanings(cls)[name], f"{cls.__name__}.{name}"
