"""Pictures to the CLS token of a transformers DINOv2 (Oquab et al. 2023), after its last norm. Knows no metric.

Stein et al. 2023 ("Exposing flaws of generative model evaluation metrics") found its Frechet distance closest to what
people judge. Published figures resize straight to 224x224, as the modes of resize.py do; the model's own processor, the
default here, cuts the centre out of a larger picture.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from darkroom.features.batching import in_batches
from darkroom.features.extractor import ExtractorInfo
from darkroom.features.networks import load_network
from darkroom.features.preprocessing import Preprocessing, read_preprocessing
from darkroom.features.spec import ExtractorSpec
from darkroom.features.weights import ModelFolder, find_model, model_files, weights_digest
from darkroom.rendering.proof import LocalFiles

_TYPES = ("dinov2", "dinov2_with_registers")  # of transformers' models


def inspect_dinov2(spec: ExtractorSpec) -> ExtractorInfo:
    return _found(spec)[2]


def load_dinov2(spec: ExtractorSpec) -> "Dinov2Extractor":
    from transformers import AutoModel

    model, preprocessing, info = _found(spec)
    return Dinov2Extractor(load_network(AutoModel, model, spec), preprocessing, info, spec)


def dinov2_files(spec: ExtractorSpec) -> LocalFiles:
    return model_files(spec, _TYPES)


def _found(spec: ExtractorSpec) -> tuple[ModelFolder, Preprocessing, ExtractorInfo]:
    model = find_model(spec, _TYPES)
    preprocessing = read_preprocessing(model.path, spec)
    dimension = model.config.get("hidden_size", 768)
    return model, preprocessing, ExtractorInfo(spec.name, weights_digest(model.weights), preprocessing.words, dimension)


class Dinov2Extractor:
    """A loaded DINOv2."""

    def __init__(self, network: Any, preprocessing: Preprocessing, info: ExtractorInfo, spec: ExtractorSpec) -> None:
        self.info = info
        self._network, self._preprocessing = network, preprocessing
        self._device, self._batch_size = spec.device, spec.batch_size

    def features(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        return in_batches(pictures, self._batch_size, self.info.dimension, self._call)

    def _call(self, pictures: list[np.ndarray]) -> torch.Tensor:
        pixels = torch.from_numpy(np.stack([self._preprocessing(picture) for picture in pictures]))
        return self._network(pixel_values=pixels.to(self._device)).last_hidden_state[:, 0]
