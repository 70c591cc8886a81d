"""An aesthetic score from another network's features. `plugins` says how to use it, and how to add one's own."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.extractor import Extractor
from darkroom.evaluation.networks import in_batches
from darkroom.runs.features import ExtractorInfo

_BATCH_SIZE = 256  # feature rows in every call of a head


class AestheticHead:
    """Linear layers on a picture's features of unit length, with nothing between them; the caption is not read.

    So are the LAION aesthetics predictors made (Schuhmann et al. 2022): 768 features of CLIP ViT-L/14 to one number of
    about 1 to 10. Layers follow the numbers in their names (`layers.0.weight`, `layers.0.bias`, `layers.2...`).
    """

    def __init__(self, extractor: Extractor, path: Path) -> None:
        self._extractor = extractor
        self._layers, digest = _read_layers(path, extractor.info.dimension)
        weights = f"{digest} on {extractor.info.extractor_id}"
        self.info = ExtractorInfo("aesthetic", weights, extractor.info.resize, dimension=1, is_scorer=True)

    def scores(self, pictures: Sequence[np.ndarray], captions: Sequence[str]) -> np.ndarray:
        return self.scores_of(self._extractor.features(pictures))

    def scores_of(self, features: np.ndarray) -> np.ndarray:
        """(N,) float32 of stored (N, dimension) features, without the pictures."""
        return in_batches(list(features), _BATCH_SIZE, 1, self._call)[:, 0]

    def _call(self, rows: list[np.ndarray]) -> torch.Tensor:
        x = torch.nn.functional.normalize(torch.from_numpy(np.stack(rows)))
        for weight, bias in self._layers:
            x = torch.nn.functional.linear(x, weight, bias)
        return x


def _read_layers(path: Path, dimension: int) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], str]:
    """(weight, bias) in order, and "sha256:..." of the bytes that they are read from.

    Raises DarkroomError where they do not lead from `dimension` to one number.
    """
    try:
        data = path.read_bytes()
        state = {name: tensor.float() for name, tensor in load(data).items()}
        names = sorted((name for name in state if name.endswith("weight")), key=_numbers)
        layers = [(state[name], state[name.removesuffix("weight") + "bias"]) for name in names]
    except (OSError, SafetensorError, KeyError) as error:
        raise DarkroomError(
            f"aesthetic head {path}: no linear layers in it ({error}); give a safetensors file"
        ) from None
    widths = [weight.shape[1] for weight, _ in layers] + [1]
    if widths[0] != dimension or any(
        len(weight) != width for (weight, _), width in zip(layers, widths[1:], strict=True)
    ):
        raise DarkroomError(
            f"aesthetic head {path}: its layers, {widths}, do not lead from the extractor's {dimension} features to "
            "one number; use the extractor that it was trained with"
        )
    return layers, f"sha256:{hashlib.sha256(data).hexdigest()}"


def _numbers(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.split(".") if part.isdigit())
