"""CLIP and DINOv2 as transformers loads them: images, and captions by CLIP, to features."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from darkroom.demo import CLIP_FOLDER
from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.extractor import ExtractorSpec
from darkroom.evaluation.networks import (
    ModelFolder,
    find_model,
    in_batches,
    load_network,
    model_files,
    weights_digest,
)
from darkroom.evaluation.preprocessing import DGM_EVAL, OF_DGM_EVAL, Preprocessing, read_preprocessing
from darkroom.rendering.loading import LocalFiles
from darkroom.runs.features import ExtractorInfo

_CLIP_TYPES = ("clip",)  # of transformers' models
_DINOV2_TYPES = ("dinov2", "dinov2_with_registers")


def inspect_clip(spec: ExtractorSpec) -> ExtractorInfo:
    return _clip_found(spec)[2]


def load_clip(spec: ExtractorSpec) -> "ClipExtractor":
    from transformers import AutoTokenizer, CLIPModel

    model, preprocessing, info = _clip_found(spec)
    network = load_network(CLIPModel, model, spec)
    return ClipExtractor(
        network, AutoTokenizer.from_pretrained(model.path, trust_remote_code=False), preprocessing, info, spec
    )


def inspect_demo_clip(spec: ExtractorSpec) -> ExtractorInfo:
    return inspect_clip(_embedded(spec))


def load_demo_clip(spec: ExtractorSpec) -> "ClipExtractor":
    return load_clip(_embedded(spec))


def clip_files(spec: ExtractorSpec) -> LocalFiles:
    return model_files(spec, _CLIP_TYPES)


def demo_clip_files(spec: ExtractorSpec) -> LocalFiles:
    return clip_files(_embedded(spec))


def _embedded(spec: ExtractorSpec) -> ExtractorSpec:
    if spec.source is not None:
        raise DarkroomError(
            f"extractor {spec.name}: source={spec.source}, but it brings its own; name the extractor clip"
        )
    return replace(spec, source=str(CLIP_FOLDER))


def _clip_found(spec: ExtractorSpec) -> tuple[ModelFolder, Preprocessing, ExtractorInfo]:
    model = find_model(spec, _CLIP_TYPES)
    preprocessing = read_preprocessing(model.path, spec)
    side = model.config.get("vision_config", {}).get("image_size", 224)
    if preprocessing.crop != (side, side):
        raise DarkroomError(
            f"extractor {spec.name}: source={spec.source}: its processor makes {preprocessing.crop} pixels, "
            f"its network takes ({side}, {side}); copy the model anew"
        )
    dimension = model.config.get("projection_dim", 512)
    return (
        model,
        preprocessing,
        ExtractorInfo(
            spec.name, weights_digest(model.weights), preprocessing.description, dimension, reads_captions=True
        ),
    )


class ClipExtractor:
    """A loaded CLIP with both towers: a CaptionExtractor.

    Both towers' features are the projected ones. Images' are raw; captions' have unit length, since nothing but their
    direction is ever used (Radford et al. 2021; CLIPScore, Hessel et al. 2021).
    """

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


def inspect_dinov2(spec: ExtractorSpec) -> ExtractorInfo:
    return _dinov2_found(spec)[2]


def load_dinov2(spec: ExtractorSpec) -> "Dinov2Extractor":
    from transformers import AutoModel

    model, preprocessing, info = _dinov2_found(spec)
    network = load_network(AutoModel, model, spec)
    if spec.resize == DGM_EVAL:
        _settle_positions(network, preprocessing.crop[0])
    return Dinov2Extractor(network, preprocessing, info, spec)


def dinov2_files(spec: ExtractorSpec) -> LocalFiles:
    return model_files(spec, _DINOV2_TYPES)


def _dinov2_found(spec: ExtractorSpec) -> tuple[ModelFolder, Preprocessing, ExtractorInfo]:
    model = find_model(spec, _DINOV2_TYPES)
    preprocessing, words = _seen_by_dinov2(spec, model)
    dimension = model.config.get("hidden_size", 768)
    return model, preprocessing, ExtractorInfo(spec.name, weights_digest(model.weights), words, dimension)


def _seen_by_dinov2(spec: ExtractorSpec, model: ModelFolder) -> tuple[Preprocessing, str]:
    """What becomes of a picture, and all of it in words."""
    if spec.resize != DGM_EVAL:
        found = read_preprocessing(model.path, spec, (DGM_EVAL,))
        return found, found.description
    if model.config["model_type"] != _DINOV2_TYPES[0]:
        raise DarkroomError(
            f"extractor {spec.name}: resize={DGM_EVAL}: published figures are of a DINOv2 without registers, and "
            f"source={spec.source} has some; give facebook/dinov2-large, or leave resize out"
        )
    return OF_DGM_EVAL, f"{DGM_EVAL}: {OF_DGM_EVAL.description}, positions as facebookresearch/dinov2"


def _settle_positions(network: Any, side: int) -> None:
    """Embeddings of the positions in a square of `side` pixels, interpolated once as facebookresearch/dinov2 does.

    Its bicubic window is (patches + 0.1) / positions wide, and transformers' patches / positions: some hundredths of
    what positions add, in every figure that is published.
    """
    embeddings, size = network.embeddings, side // network.config.patch_size
    cls, patches = embeddings.position_embeddings.split([1, embeddings.position_embeddings.shape[1] - 1], dim=1)
    known = round(patches.shape[1] ** 0.5)
    if known == size:
        return
    grid = patches.reshape(1, known, known, -1).permute(0, 3, 1, 2)
    scale = (size + 0.1) / known
    moved = torch.nn.functional.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
    found = torch.cat([cls, moved.permute(0, 2, 3, 1).reshape(1, size * size, -1)], dim=1)
    embeddings.position_embeddings = torch.nn.Parameter(found, requires_grad=False)


class Dinov2Extractor:
    """A loaded DINOv2: an image becomes the CLS token after its last norm.

    Stein et al. 2023 ("Exposing flaws of generative model evaluation metrics") found its Frechet distance closest to
    what people judge. Published figures resize straight to 224x224: by default as `dgm-eval` here does, positions
    included, with `clean` pixels where that tool resizes cleanly. The model's own processor, the default here, cuts the
    centre out of a larger image.
    """

    def __init__(self, network: Any, preprocessing: Preprocessing, info: ExtractorInfo, spec: ExtractorSpec) -> None:
        self.info = info
        self._network, self._preprocessing = network, preprocessing
        self._device, self._batch_size = spec.device, spec.batch_size

    def features(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        return in_batches(pictures, self._batch_size, self.info.dimension, self._call)

    def _call(self, pictures: list[np.ndarray]) -> torch.Tensor:
        pixels = torch.from_numpy(np.stack([self._preprocessing(picture) for picture in pictures]))
        return self._network(pixel_values=pixels.to(self._device)).last_hidden_state[:, 0]
