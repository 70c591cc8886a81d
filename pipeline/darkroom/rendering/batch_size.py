"""Finds the batch size at which a model makes most images a second, by trying. Keeps nothing."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

from darkroom.domain.requests import ImageRequest
from darkroom.domain.settings import Sampling
from darkroom.rendering.diffusion import DiffusersRenderer, device_name
from darkroom.rendering.pretrained import load_pipeline
from darkroom.rendering.spec import RendererSpec

_SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64)
_MAX_UNET_ROWS = 63  # at 64 the Stable Diffusion UNets' `Upsample2D` leaves channels_last on a GPU, and is slower
_NUM_STEPS = 3
_NUM_TIMED = 2  # calls, after one that is not
_LONGEST_S = 30.0  # of a call; a larger batch is not tried after it
_NEAR = 0.97  # of the best rate: less memory and a shorter tail are worth as much


def measured_rates(spec: RendererSpec, sampling: Sampling) -> dict[int, float]:
    """Batch size -> images a second of a few steps, as far as memory, time and use go."""
    spec = replace(spec, compile=False)
    pipe = load_pipeline(spec)
    sampling = replace(sampling, num_inference_steps=min(_NUM_STEPS, sampling.num_inference_steps))
    rates: dict[int, float] = {}
    for size in _sizes(hasattr(pipe, "unet"), sampling.is_guided):
        seconds = _seconds(DiffusersRenderer(pipe, replace(spec, batch_size=size)), sampling)
        if seconds is None:
            break
        rates[size] = size / seconds
        if seconds > _LONGEST_S or _is_past_the_best(rates):
            break
    return rates


def best_size(rates: Mapping[int, float]) -> int:
    """The smallest whose rate is next to the best; 1 where not even that could be rendered."""
    return min((size for size, rate in rates.items() if rate >= _NEAR * max(rates.values())), default=1)


def where(spec: RendererSpec) -> str:
    """The device that a probe's result holds for."""
    return device_name(spec)


def _sizes(has_unet: bool, is_guided: bool) -> Iterator[int]:
    rows = 2 if is_guided else 1
    return (size for size in _SIZES if not has_unet or size * rows <= _MAX_UNET_ROWS)


def _is_past_the_best(rates: Mapping[int, float]) -> bool:
    """The last two sizes were no better than one before them."""
    *before, second, last = [0.0, 0.0, *rates.values()]
    return max(before) > 0 and max(second, last) < max(before) / _NEAR


def _seconds(renderer: DiffusersRenderer, sampling: Sampling) -> float | None:
    """Of the quicker call; None where the batch was too large for the memory."""
    size = renderer.info.batch_size
    requests = [ImageRequest(str(number), "a photograph", number, sampling) for number in range(size)]
    times = []
    for _ in range(1 + _NUM_TIMED):
        started = time.perf_counter()
        if any(image.batch_size != size or image.pixels is None for image in renderer.render(requests)):
            return None
        times.append(time.perf_counter() - started)
    return min(times[1:])
