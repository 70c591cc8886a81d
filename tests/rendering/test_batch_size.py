from dataclasses import replace
from pathlib import Path

import pytest

from darkroom.domain.settings import ModelRef, Sampling
from darkroom.rendering.batch_size import best_size, measured_rates
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.spec import RendererSpec
from tests.rendering.test_renderers import SAMPLING


@pytest.mark.parametrize(
    ("rates", "best"),
    [
        ({1: 10.0, 2: 15.0, 4: 15.2, 8: 15.1}, 2),  # next to the best is enough
        ({1: 10.0, 2: 15.0, 4: 30.0}, 4),
        ({1: 10.0}, 1),
        ({}, 1),  # not even one image
    ],
)
def test_the_smallest_size_next_to_the_best_rate_is_taken(rates: dict[int, float], best: int) -> None:
    assert best_size(rates) == best


@pytest.mark.parametrize(("guidance_scale", "largest"), [(4.0, 24), (1.0, 48)])
def test_sizes_are_tried_from_one_on_below_64_rows(
    models: dict[str, Path], guidance_scale: float, largest: int
) -> None:
    spec = RendererSpec(inspect_model(ModelRef(str(models["sd"])), "cpu"), "cpu", 8)
    rates = measured_rates(spec, replace(SAMPLING, guidance_scale=guidance_scale, num_inference_steps=50))
    sizes = list(rates)
    assert sizes == [1, 2, 4, 8, 16, 24, 32, 48][: len(sizes)]
    assert len(sizes) >= 2
    assert sizes[-1] <= largest
    assert min(rates.values()) > 0


def test_a_size_that_memory_does_not_hold_ends_the_trying(models: dict[str, Path], monkeypatch) -> None:
    import torch

    from darkroom.rendering.diffusion import DiffusersRenderer

    own = DiffusersRenderer._call

    def call(self, batch):
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return own(self, batch)

    monkeypatch.setattr(DiffusersRenderer, "_call", call)
    spec = RendererSpec(inspect_model(ModelRef(str(models["sd"])), "cpu"), "cpu", 8)
    assert list(measured_rates(spec, Sampling("ddim", 4.0, 2, 16, 16))) == [1, 2]
