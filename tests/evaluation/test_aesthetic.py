"""The aesthetic head."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.aesthetic import AestheticHead
from darkroom.evaluation.extractor import ExtractorSpec
from darkroom.evaluation.opening import load_extractor

PIXELS = load_extractor(ExtractorSpec("pixels"))
WIDTH = PIXELS.info.dimension


def head(path: Path, widths: tuple[int, ...] = (WIDTH, 6, 1)) -> Path:
    """Layers 0, 10, 20, ... so that their names sort wrongly as text."""
    torch.manual_seed(0)
    layers = {f"layers.{n * 2 + 8}": torch.nn.Linear(*pair) for n, pair in enumerate(pairwise(widths))}
    save_file(
        {f"{k}.{part}": getattr(layer, part).data for k, layer in layers.items() for part in ("weight", "bias")}, path
    )
    return path


def test_scores_are_the_layers_of_unit_features(tmp_path: Path, pictures) -> None:
    scorer = AestheticHead(PIXELS, head(tmp_path / "head.safetensors"))
    wanted = pictures(3)
    scores = scorer.scores(wanted, ["a", "b", "c"])
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(WIDTH, 6), torch.nn.Linear(6, 1))
    features = PIXELS.features(wanted)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(scores, layers(torch.from_numpy(unit)).detach().numpy()[:, 0], atol=1e-6)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scorer.scores_of(features[1:]), scores[1:])
    assert scorer.scores([], []).shape == (0,)


def test_an_id_follows_the_extractor_and_the_head(tmp_path: Path) -> None:
    first = AestheticHead(PIXELS, head(tmp_path / "first.safetensors"))
    other = AestheticHead(PIXELS, head(tmp_path / "other.safetensors", (WIDTH, 5, 1)))
    assert first.info == AestheticHead(PIXELS, tmp_path / "first.safetensors").info != other.info


def test_a_head_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    for widths in ((7, 3, 1), (WIDTH, 3, 2)):
        with pytest.raises(DarkroomError, match=f"do not lead from the extractor's {WIDTH} features to one number"):
            AestheticHead(PIXELS, head(path, widths))
    path.write_bytes(b"nothing")
    for broken in (path, tmp_path / "nowhere"):
        with pytest.raises(DarkroomError, match="no linear layers"):
            AestheticHead(PIXELS, broken)
