"""Guidance beyond one number a call: a scale for each image of a batch, and guidance in a part of the steps alone.

Works through what diffusers' Stable Diffusion pipelines offer: they multiply by their `guidance_scale`, read it anew in
every step, and let a callback change it and the text between two steps.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from darkroom.domain.settings import Sampling


class RowScales(float):
    """A guidance scale for each image, where a pipeline expects one number; compares as the smallest of them."""

    rows: torch.Tensor  # (N,) float32

    def __new__(cls, scales: Sequence[float], device: torch.device) -> "RowScales":
        self = super().__new__(cls, min(scales))
        self.rows = torch.tensor(scales, dtype=torch.float32, device=device)
        return self

    def __mul__(self, prediction: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """(N, ...) predictions, each times its own scale: in float32, as torch does it with a plain number."""
        column = self.rows.view(-1, *[1] * (prediction.ndim - 1))
        return (column * prediction.float()).to(prediction.dtype)


class GuidedSteps:
    """A step-end callback that turns guidance on and off, and the unguided rows of the batch with it.

    "Applying Guidance in a Limited Interval Improves Sample and Distribution Quality in Diffusion Models"
    (Kynkäänniemi et al. 2024), with the interval in shares of the steps.
    """

    tensors = ("prompt_embeds", "add_text_embeds", "add_time_ids")  # that have a row for every row of the batch

    def __init__(self, sampling: Sampling, scales: RowScales, negatives: Mapping[str, torch.Tensor]) -> None:
        """`negatives`: name of a tensor -> its unguided rows, (N, ...) each."""
        self._sampling = sampling
        self._scales = scales
        self._negatives = negatives
        self._is_on = self.first_scale > 1

    @property
    def first_scale(self) -> float:
        """Of the call."""
        return self._scales if self._sampling.guidance_start == 0 else 1.0

    def __call__(self, pipe: Any, step: int, _timestep: Any, tensors: dict[str, torch.Tensor]) -> dict:
        share = (step + 1) / pipe.num_timesteps
        is_on = self._sampling.guidance_start <= share < self._sampling.guidance_stop
        if is_on == self._is_on:
            return {}
        self._is_on = is_on
        pipe._guidance_scale = self._scales if is_on else 1.0
        return {name: self._doubled(name, rows) if is_on else rows.chunk(2)[1] for name, rows in tensors.items()}

    def _doubled(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        """Unguided rows first, as the pipelines order them; sizes and crops (`add_time_ids`) are the same for both."""
        return torch.cat([self._negatives.get(name, rows), rows])
