"""Pictures and captions into one space, by any transformers CLIPModel. Knows no metric.

Both towers' features are the projected ones. Pictures' are stored raw; captions' have unit length, since nothing but
their direction is ever used (Radford et al. 2021; CLIPScore, Hessel et al. 2021).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from darkroom.demo import CLIP_FOLDER
from darkroom.domain.errors import DarkroomError
from darkroom.features.batching import in_batches
from darkroom.features.extractor import ExtractorInfo
from darkroom.features.networks import load_network
from darkroom.features.preprocessing import Preprocessing, read_preprocessing
from darkroom.features.spec import ExtractorSpec
from darkroom.features.weights import ModelFolder, find_model, model_files, weights_digest
from darkroom.rendering.proof import LocalFiles

_TYPES = ("clip",)  # of transformers' models


def inspect_clip(spec: ExtractorSpec) -> ExtractorInfo:
    return _found(spec)[2]


def load_clip(spec: ExtractorSpec) -> "ClipExtractor":
    from transformers import AutoTokenizer, CLIPModel

    model, preprocessing, info = _found(spec)
    network = load_network(CLIPModel, model, spec)
    return ClipExtractor(
        network, AutoTokenizer.from_pretrained(model.path, trust_remote_code=False), preprocessing, info, spec
    )


def inspect_demo_clip(spec: ExtractorSpec) -> ExtractorInfo:
    return inspect_clip(_embedded(spec))


def load_demo_clip(spec: ExtractorSpec) -> "ClipExtractor":
    return load_clip(_embedded(spec))


def clip_files(spec: ExtractorSpec) -> LocalFiles:
    return model_files(spec, _TYPES)


def demo_clip_files(spec: ExtractorSpec) -> LocalFiles:
    return clip_files(_embedded(spec))


def _embedded(spec: ExtractorSpec) -> ExtractorSpec:
    if spec.source is not None:
        raise DarkroomError(
            f"extractor {spec.name}: source={spec.source}, but it brings its own; name the extractor clip"
        )
    return replace(spec, source=str(CLIP_FOLDER))


def _found(spec: ExtractorSpec) -> tuple[ModelFolder, Preprocessing, ExtractorInfo]:
    model = find_model(spec, _TYPES)
    preprocessing = read_preprocessing(model.path, spec)
    side = model.config.get("vision_config", {}).get("image_size", 224)
    if preprocessing.crop != (side, side):
        raise DarkroomError(
            f"extractor {spec.name}: source={spec.source}: its processor makes {preprocessing.crop} pixels, "
            f"its network takes ({side}, {side}); copy the model anew"
        )
    dimension = model.config.get("projection_dim", 512)
    return model, preprocessing, ExtractorInfo(spec.name, weights_digest(model.weights), preprocessing.words, dimension)


class ClipExtractor:
    """A loaded CLIP with both towers: a CaptionScorer."""

    def __init__(
        self, network: Any, tokenizer: Any, preprocessing: Preprocessing, info: ExtractorInfo, spec: ExtractorSpec
    ) -> None:
        self.info = info
        self._network, self._tokenizer, self._preprocessing = network, tokenizer, preprocessing
        self._device, self._batch_size = spec.device, spec.batch_size
        self._max_tokens = network.config.text_config.max_position_embeddings

    def features(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        return in_batches(pictures, self._batch_size, self.info.dimension, self._see)

    def caption_features(self, captions: Sequence[str]) -> np.ndarray:
        return in_batches(captions, self._batch_size, self.info.dimension, self._read)

    def truncated(self, captions: Sequence[str]) -> np.ndarray:
        ids = self._tokenizer(list(captions), truncation=False, verbose=False).input_ids if captions else []
        return np.array([len(row) > self._max_tokens for row in ids], bool)

    def _see(self, pictures: list[np.ndarray]) -> torch.Tensor:
        pixels = torch.from_numpy(np.stack([self._preprocessing(picture) for picture in pictures]))
        return self._network.get_image_features(pixels.to(self._device)).pooler_output

    def _read(self, captions: list[str]) -> torch.Tensor:
        """Needs no attention mask: the tower looks back only, and answers at the end token, before any pad."""
        ids = self._tokenizer(
            captions, padding="max_length", truncation=True, max_length=self._max_tokens, return_tensors="pt"
        ).input_ids
        features = self._network.get_text_features(ids.to(self._device)).pooler_output
        return torch.nn.functional.normalize(features.float())
