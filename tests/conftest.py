"""What all tests share."""

from __future__ import annotations

import pytest
import torch

torch.set_num_threads(1)  # the tests run on all cores already


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
