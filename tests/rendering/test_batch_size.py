from dataclasses import replace

import pytest
import torch

from darkroom.domain.settings import Sampling
from darkroom.engine.spec import best_size, measured_rates, rates_of
from darkroom.rendering.pretrained import load_pipeline
from tests.rendering.helpers import SAMPLING, Models, spec_of


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


@pytest.mark.slow
@pytest.mark.parametrize(("guidance_scale", "largest"), [(4.0, 24), (1.0, 48)])
def test_sizes_are_tried_from_one_on_below_64_rows(models: Models, guidance_scale: float, largest: int) -> None:
    rates = measured_rates(
        spec_of(models, "sd"), replace(SAMPLING, guidance_scale=guidance_scale, num_inference_steps=50)
    )
    sizes = list(rates)
    assert sizes == [1, 2, 4, 8, 16, 24, 32, 48][: len(sizes)]
    assert len(sizes) >= 2
    assert sizes[-1] <= largest
    assert min(rates.values()) > 0


@pytest.mark.slow
def test_a_size_that_memory_does_not_hold_ends_the_trying(models: Models) -> None:
    spec = spec_of(models, "sd")
    loaded = load_pipeline(spec)

    def fail(_unet: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if len(inputs[0]) > 4:  # guided: two rows an image
            raise torch.OutOfMemoryError("CUDA out of memory")

    loaded.pipe.unet.register_forward_pre_hook(fail)
    assert list(rates_of(loaded, spec, Sampling("ddim", 4.0, 2, 16, 16))) == [1, 2]
