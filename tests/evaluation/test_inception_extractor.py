"""The FID Inception network: its layout, its numbers against torch-fidelity's, its weights file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.extractor import ExtractorSpec
from darkroom.evaluation.inception_extractor import FILE, SHA256, InceptionExtractor, inspect_inception, parameter_names
from tests.evaluation.random_weights import random_inception


@pytest.fixture(scope="module")
def spec(inception_file: Path) -> ExtractorSpec:
    return ExtractorSpec("inception_v3", str(inception_file), "tf1", batch_size=1)


@pytest.fixture(scope="module")
def extractor(spec: ExtractorSpec) -> InceptionExtractor:
    return InceptionExtractor(spec)


def test_names_are_the_published_files() -> None:
    """94 convolutions with four tensors of batch norm each, and the last layer."""
    names = parameter_names()
    parts = ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
    convs = {name.removesuffix(".conv.weight") for name in names if name.endswith("conv.weight")}
    assert len(convs) == 94
    assert names == {f"{conv}.{part}" for conv in convs for part in parts} | {"fc.weight", "fc.bias"}
    count = {
        block: sum(conv.startswith(f"Mixed_{block}.") for conv in convs) for block in ("5b", "6a", "6e", "7a", "7c")
    }
    assert count == {"5b": 7, "6a": 4, "6e": 10, "7a": 6, "7c": 9}
    some = (
        "5d.branch5x5_2",
        "6a.branch3x3dbl_3",
        "6b.branch7x7dbl_5",
        "7a.branch7x7x3_4",
        "7b.branch3x3_2a",
        "7c.branch_pool",
    )
    assert {f"Mixed_{name}" for name in some} | {"Conv2d_1a_3x3", "Mixed_7c.branch3x3dbl_3b"} <= convs


@pytest.mark.slow
def test_features_and_logits_equal_torch_fidelitys(extractor: InceptionExtractor) -> None:
    """What torch-fidelity 0.4.0 makes of the same random weights and the same picture."""
    picture = np.random.RandomState(5).randint(0, 256, (64, 48, 3)).astype(np.uint8)
    features = extractor.features([picture])
    assert features.shape == (1, 2048)
    np.testing.assert_allclose(
        features[0, :6], [0.0, 0.41752127, 0.12764966, 0.43059877, 0.5364297, 0.01380793], atol=1e-4
    )
    assert features.mean() == pytest.approx(0.25779516, abs=1e-5)
    logits = extractor.logits(features)
    assert logits.shape == (1, 1008)
    np.testing.assert_allclose(logits[0, :3], [0.123716, 0.6782379, -0.42638034], atol=1e-4)


@pytest.mark.slow
def test_the_way_of_resizing_changes_features_and_the_id(spec: ExtractorSpec, extractor: InceptionExtractor) -> None:
    clean = InceptionExtractor(replace(spec, resize=None))
    assert clean.info.resize == "clean"
    assert clean.info.extractor_id != extractor.info.extractor_id
    picture = np.random.RandomState(5).randint(0, 256, (400, 400, 3)).astype(np.uint8)
    assert np.abs(clean.features([picture]) - extractor.features([picture])).max() > 0.01


def test_weights_are_looked_for_in_the_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(DarkroomError, match=f"neither a source nor .*{FILE}; download https"):
        inspect_inception(ExtractorSpec("inception_v3"))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / FILE).write_bytes(b"half a download")
    with pytest.raises(DarkroomError, match=rf"15 bytes.*is not what its name says, sha256:{SHA256[:12]}"):
        inspect_inception(ExtractorSpec("inception_v3"))


class Trap:
    """A pickle of it writes a file when it is loaded carelessly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_other_files_are_refused_with_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"fc.weight": torch.zeros(1000, 2048), "aux.weight": torch.zeros(1)}, path)
    with pytest.raises(DarkroomError, match="471 tensors missing, 1 foreign, such as Conv2d_1a_3x3"):
        inspect_inception(ExtractorSpec("inception_v3", str(path)))
    path.write_bytes(b"no tensors at all")
    with pytest.raises(DarkroomError, match="no plain tensors"):
        inspect_inception(ExtractorSpec("inception_v3", str(path)))


@pytest.mark.slow
def test_a_pickle_is_refused_with_the_way_to_convert_it(tmp_path: Path) -> None:
    path, trap = tmp_path / "weights.pth", tmp_path / "sprung"
    for content in (random_inception(), {"fc.weight": Trap(trap)}):
        torch.save(content, path)
        with pytest.raises(DarkroomError, match="is a pickle, which can run code"):
            inspect_inception(ExtractorSpec("inception_v3", str(path)))
    assert not trap.exists()
