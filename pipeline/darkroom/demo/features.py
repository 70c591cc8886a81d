"""The small CLIP at work: features of pictures and captions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer, CLIPModel, CLIPTokenizer

from darkroom.demo.pictures import tokenize

_BATCH = 256


class SmallClip:
    """A loaded CLIP of the world."""

    def __init__(self, folder: Path) -> None:
        self._model = CLIPModel.from_pretrained(folder, dtype=torch.float32)
        self._tokenizer: CLIPTokenizer = AutoTokenizer.from_pretrained(folder)

    @torch.inference_mode()
    def of_pictures(self, pictures: np.ndarray) -> np.ndarray:
        """(N, 64, 64, 3) uint8 to (N, features) float64 of unit length."""
        images = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
        parts = [self._model.get_image_features(batch).pooler_output for batch in images.split(_BATCH)]
        return _unit(torch.cat(parts))

    @torch.inference_mode()
    def of_captions(self, captions: Sequence[str]) -> np.ndarray:
        """(N, features) float64 of unit length."""
        tokens = tokenize(self._tokenizer, captions)
        return _unit(torch.cat([self._model.get_text_features(batch).pooler_output for batch in tokens.split(_BATCH)]))


def _unit(features: torch.Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(features.double()).numpy()
