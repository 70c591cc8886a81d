"""Find the batch size at which a model renders the most images a second, by trying sizes. Results are not stored."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import Sampling
from darkroom.rendering.diffusion import DiffusersRenderer
from darkroom.rendering.pretrained import LoadedPipeline, load_pipeline
from darkroom.rendering.renderer import RendererSpec

_SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64)
_MAX_UNET_ROWS = 63  # at 64 the Stable Diffusion UNets' `Upsample2D` leaves channels_last on a GPU, and is slower
_NUM_STEPS = 3
_NUM_TIMED = 2  # calls, after one that is not
_MAX_CALL_S = 30.0  # no larger batch is tried after a longer call
_NEAR_BEST = 0.97  # of the best rate: less memory and a shorter tail are worth the rest


def measured_rates(spec: RendererSpec, sampling: Sampling) -> dict[int, float]:
    """Batch size -> images a second of a few uncompiled steps, as far as memory, time and use go."""
    spec = replace(spec, compile=False)
    loaded = load_pipeline(spec)
    return rates_of(loaded, spec, sampling)


def rates_of(loaded: LoadedPipeline, spec: RendererSpec, sampling: Sampling) -> dict[int, float]:
    """The same for a pipeline that is loaded."""
    sampling = replace(sampling, num_inference_steps=min(_NUM_STEPS, sampling.num_inference_steps))
    rates: dict[int, float] = {}
    for size in _sizes(hasattr(loaded.pipe, "unet"), sampling.is_guided):
        seconds = _seconds(DiffusersRenderer(loaded, replace(spec, batch_size=size)), sampling)
        if seconds is None:
            break
        rates[size] = size / seconds
        if seconds > _MAX_CALL_S or _is_past_best(rates):
            break
    return rates


def best_size(rates: Mapping[int, float]) -> int:
    """The smallest size whose rate is near the best; 1 where not even one image could be rendered."""
    return min((size for size, rate in rates.items() if rate >= _NEAR_BEST * max(rates.values())), default=1)


def _sizes(has_unet: bool, is_guided: bool) -> Iterator[int]:
    rows = 2 if is_guided else 1
    return (size for size in _SIZES if not has_unet or size * rows <= _MAX_UNET_ROWS)


def _is_past_best(rates: Mapping[int, float]) -> bool:
    """Whether the last two sizes were no better than one before them."""
    *before, second, last = [0.0, 0.0, *rates.values()]
    return max(before) > 0 and max(second, last) < max(before) / _NEAR_BEST


def _seconds(renderer: DiffusersRenderer, sampling: Sampling) -> float | None:
    """Seconds of the quicker call; None where the batch was too large for the memory."""
    size = renderer.info.batch_size
    requests = [ImageRequest(str(number), "a photograph", number, sampling) for number in range(size)]
    times = []
    for _ in range(1 + _NUM_TIMED):
        started = time.perf_counter()
        if any(image.batch_size != size or image.pixels is None for image in renderer.render(requests)):
            return None
        times.append(time.perf_counter() - started)
    return min(times[1:])
