from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.rendering.tiny_models import tiny_sd, tiny_sd3, tiny_sdxl

_MAKERS: dict[str, Callable[[Path], Path]] = {"sd": tiny_sd, "sdxl": tiny_sdxl, "sd3": tiny_sd3}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: make(tmp_path_factory.mktemp(name) / "model") for name, make in _MAKERS.items()}


@pytest.fixture(scope="session")
def loras(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from tests.rendering.tiny_loras import ALL_LAYERS, tiny_lora  # which imports peft

    folder = tmp_path_factory.mktemp("loras")
    return {
        "style": tiny_lora(models["sd"], folder / "style"),
        "all": tiny_lora(models["sd"], folder / "all", 2, ALL_LAYERS, with_text=True),
        "dora": tiny_lora(models["sd"], folder / "dora", 3, use_dora=True),
        "sdxl": tiny_lora(models["sdxl"], folder / "sdxl", 4, with_text=True),
        "sd3": tiny_lora(models["sd3"], folder / "sd3", 5),
    }


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tests run in two processes, whose threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
