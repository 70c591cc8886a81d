from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from darkroom.demo import CLIP_FOLDER
from darkroom.evaluation.extractor import ExtractorSpec
from tests.evaluation.random_weights import random_inception, tiny_dinov2
from tests.evaluation.references import Measuring


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "random.safetensors"
    save_file(random_inception(), path)
    return path


@pytest.fixture(scope="session")
def dinov2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dinov2(tmp_path_factory.mktemp("dinov2"))


@pytest.fixture(scope="session")
def specs(inception_file: Path, dinov2_folder: Path) -> dict[str, ExtractorSpec]:
    """One of each extractor, with weights that are here."""
    sources = {"clip": CLIP_FOLDER, "dinov2": dinov2_folder, "inception_v3": inception_file}
    names = ("demo_clip", "clip", "dinov2", "inception_v3", "pixels")
    return {name: ExtractorSpec(name, str(sources[name]) if name in sources else None, batch_size=2) for name in names}


@pytest.fixture
def pictures() -> Callable[..., list[np.ndarray]]:
    def make(count: int, height: int = 70, width: int = 90) -> list[np.ndarray]:
        rng = np.random.RandomState(5)
        shapes = [(height + 8 * n, width - 9 * n, 3) for n in range(count)]
        return [rng.randint(0, 256, shape).astype(np.uint8) for shape in shapes]

    return make


@pytest.fixture
def measure(tmp_path: Path) -> Measuring:
    """Measures references, with a cache of its own."""
    return Measuring(tmp_path / "cache")
