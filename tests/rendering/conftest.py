from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.rendering.tiny_models import tiny_sd, tiny_sd3, tiny_sdxl

_MAKERS: dict[str, Callable[[Path], Path]] = {"sd": tiny_sd, "sdxl": tiny_sdxl, "sd3": tiny_sd3}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: make(tmp_path_factory.mktemp(name) / "model") for name, make in _MAKERS.items()}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
