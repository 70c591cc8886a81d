"""Pictures to the 2,048 pool3 features of the FID Inception network, and those to class logits. Knows no metric."""

from collections.abc import Sequence

import numpy as np
import torch

from darkroom.domain.errors import DarkroomError
from darkroom.features.batching import in_batches
from darkroom.features.extractor import ExtractorInfo
from darkroom.features.inception import NUM_CLASSES, NUM_FEATURES, SIDE, FidInception
from darkroom.features.inception_weights import find_inception, inception_digest, read_inception
from darkroom.features.resize import RESIZES, resize
from darkroom.features.spec import ExtractorSpec
from darkroom.features.weights import local_files
from darkroom.rendering.proof import LocalFiles

_DEFAULT_RESIZE = "clean"  # the one that does not alias: pictures here are most often larger than 299


def inspect_inception(spec: ExtractorSpec) -> ExtractorInfo:
    """Checks the weights file's bytes and names, without building the network."""
    mode = _resize_mode(spec)
    path = find_inception(spec.source)
    info = ExtractorInfo("inception_v3", inception_digest(path), mode, NUM_FEATURES)
    read_inception(path, parameter_names())
    return info


def inception_files(spec: ExtractorSpec) -> LocalFiles:
    """The one file, and what it must be."""
    _resize_mode(spec)
    path = find_inception(spec.source)
    return local_files(spec, path.parent, lambda: [path.name])


def _resize_mode(spec: ExtractorSpec) -> str:
    mode = spec.resize or _DEFAULT_RESIZE
    if mode not in RESIZES:
        raise DarkroomError(f"extractor inception_v3: resize={mode} is not known; use one of {', '.join(RESIZES)}")
    return mode


def parameter_names() -> set[str]:
    """Of the 472 tensors that the weights file has."""
    with torch.device("meta"):
        names = set(FidInception().state_dict())
    return {name for name in names if not name.endswith("num_batches_tracked")}


class InceptionExtractor:
    """pool3 features, raw and never negative."""

    def __init__(self, spec: ExtractorSpec) -> None:
        self.info = inspect_inception(spec)
        state = read_inception(find_inception(spec.source), parameter_names())
        with torch.device("meta"):
            network = FidInception()
        network.to_empty(device="cpu").load_state_dict(state)
        self._network = network.eval().requires_grad_(False).to(spec.device)
        self._device, self._batch_size = spec.device, spec.batch_size

    def features(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        return in_batches(pictures, self._batch_size, NUM_FEATURES, self._call)

    def logits(self, features: np.ndarray) -> np.ndarray:
        """(N, 1008) float32 of stored (N, 2048) features: what the Inception score needs, without the pictures.

        Without the last layer's bias, as the score's own code (Salimans et al. 2016) and torch-fidelity have it.
        """
        weight = self._network.fc.weight
        return in_batches(
            list(features), self._batch_size, NUM_CLASSES, lambda rows: self._tensor(np.stack(rows)) @ weight.T
        )

    def _call(self, pictures: list[np.ndarray]) -> torch.Tensor:
        resized = np.stack([resize(picture, (SIDE, SIDE), self.info.resize) for picture in pictures])
        return self._network(_scaled(self._tensor(resized), self.info.resize))

    def _tensor(self, rows: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(rows).to(self._device, torch.float32)


def _scaled(pixels: torch.Tensor, mode: str) -> torch.Tensor:
    """[0, 255] to about [-1, 1]: pytorch-fid's own scale with its own resize, the graph's with the others."""
    return pixels / 127.5 - 1 if mode == "torch" else (pixels - 128) / 128
