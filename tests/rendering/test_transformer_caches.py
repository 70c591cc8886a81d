"""Caches of transformers: which steps they leave out, that images stand alone, and that no call sees another's."""

import gc
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import TaylorSeerCacheConfig
from diffusers.hooks.pyramid_attention_broadcast import PyramidAttentionBroadcastState
from diffusers.hooks.taylorseer_cache import TaylorSeerState
from diffusers.models.cache_utils import CacheMixin
from torch.utils._pytree import tree_leaves

from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import CACHES, ModelRef, Sampling
from darkroom.rendering.diffusion import DiffusersRenderer
from darkroom.rendering.families import FAMILIES
from darkroom.rendering.family import Guidance
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.own_settings import TAYLORSEER_FIRST
from darkroom.rendering.pretrained import load_pipeline
from darkroom.rendering.renderer import RendererSpec
from darkroom.rendering.tracing import call_bytes
from darkroom.rendering.transformer_caches import config_of_cache
from tests.rendering.tiny_families import PIPELINES, tiny

STEPS = 9
PROMPTS = ("a red circle", "a large blue square beside a small green triangle on a white background", "x")
TABLED = ["flux_dev", "flux2", "flux2_klein", "qwen", "chroma", "hunyuan_image", "bria", "ovis", "cogview4"]

Load = Callable[[str], tuple[DiffusersRenderer, Any, InspectedModel]]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    known: dict[str, Any] = {}

    def loaded(name: str) -> tuple[DiffusersRenderer, Any, InspectedModel]:
        if name not in known:
            model = inspect_model(ModelRef(str(tiny(name, tmp_path_factory.mktemp(name) / name))), "cpu")
            spec = RendererSpec(model, "cpu", 3)
            found = load_pipeline(spec)
            known[name] = DiffusersRenderer(found, spec), found.pipe, model
        return known[name]

    return loaded


def requests(model: InspectedModel, cache: str = "none", interval: int = 1, **changes: Any) -> list[ImageRequest]:
    guidance = 0.0 if model.family.guidance is Guidance.NONE else 3.0
    sampling = Sampling("default", guidance, STEPS, 32, 32, cache=cache, cache_interval=interval)
    sampling = replace(sampling, **changes)
    return [ImageRequest(str(place), prompt, 100 + place, sampling) for place, prompt in enumerate(PROMPTS)]


def made(renderer: DiffusersRenderer, wanted: list[ImageRequest]) -> np.ndarray:
    images = renderer.render(wanted)
    assert [image.error for image in images] == [None] * len(wanted)
    return np.stack([image.pixels for image in images if image.pixels is not None])


def hooked(transformer: Any, cache: str) -> set[str]:
    """Names of the layers that diffusers puts a cache on."""
    transformer.enable_cache(config_of_cache(cache, 2, lambda: 500.0))
    try:
        return {
            name for name, module in transformer.named_modules() if getattr(module, "_diffusers_hook", None)
            and module._diffusers_hook.hooks
        }  # fmt: skip
    finally:
        transformer.disable_cache()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_the_table_names_the_caches_that_find_layers_of_a_class(name: str) -> None:
    pipe = PIPELINES[name]()
    transformer = getattr(pipe, "transformer", None)
    found = []
    for cache in CACHES if isinstance(transformer, CacheMixin) else ():
        layers = hooked(transformer, cache)
        is_predicted = cache != "taylorseer_lite" or "proj_out" in layers  # else there are zeros in its place
        found += [cache] if layers and is_predicted else []
    assert FAMILIES[type(pipe).__name__].caches == tuple(found)


@pytest.mark.slow
@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("name", TABLED)
def test_images_stand_alone_and_no_call_leaves_a_trace(load: Load, name: str, cache: str) -> None:
    renderer, pipe, model = load(name)
    if cache not in model.family.caches:
        pytest.skip("it has none")
    plain, wanted = requests(model, num_inference_steps=5), requests(model, cache, 3, num_inference_steps=5)
    first, cached = made(renderer, plain), made(renderer, wanted)
    assert not np.array_equal(first, cached)
    for one, other in [
        (first, made(renderer, plain)),
        (cached, made(renderer, wanted[::-1])[::-1]),
        (cached, np.concatenate([made(renderer, [each]) for each in wanted])),
    ]:
        assert np.abs(one.astype(int) - other).max() <= 1
    assert not pipe.transformer.is_cache_enabled


def calls(renderer: DiffusersRenderer, layers: dict[str, Any], wanted: list[ImageRequest]) -> Counter[str]:
    """How often each layer computes."""
    counted: Counter[str] = Counter()
    hooks = []
    for name, layer in layers.items():
        hooks.append(layer.register_forward_pre_hook(lambda *_, name=name: counted.update([name])))
    try:
        made(renderer, wanted)
    finally:
        for hook in hooks:
            hook.remove()
    return counted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "cache", "interval", "full"),
    [
        ("flux_dev", "taylorseer", 3, 5),  # of nine steps the first three, and steps 4 and 7
        ("flux_dev", "taylorseer_lite", 3, 5),
        ("flux_dev", "taylorseer", 2, 6),
        ("qwen", "taylorseer", 3, 2 * 5),  # two branches, each with its own
        ("chroma", "taylorseer_lite", 3, 2 * 5),  # whose pipeline does not name them
        ("qwen", "none", 1, 2 * 9),
    ],
)
def test_so_many_steps_are_computed(load: Load, name: str, cache: str, interval: int, full: int) -> None:
    renderer, pipe, model = load(name)
    attention = pipe.transformer.transformer_blocks[0].attn
    inside = {"inside": attention.to_q}
    [wanted, *_] = requests(model, cache, interval)
    assert calls(renderer, inside, [wanted]) == {"inside": full}


@pytest.mark.slow
def test_a_broadcast_computes_each_branch_in_the_same_steps(load: Load) -> None:
    """diffusers alone would give one branch what the other had computed."""
    renderer, pipe, model = load("qwen")
    seen: list[int] = []
    attention = pipe.transformer.transformer_blocks[0].attn
    hook = attention.to_q.register_forward_pre_hook(lambda *_: seen.append(len(seen)))
    try:
        [wanted, *_] = requests(model, "pyramid_attention_broadcast", 2)
        made(renderer, [wanted])
    finally:
        hook.remove()
    assert len(seen) % 2 == 0
    assert STEPS < len(seen) < 2 * STEPS


@pytest.mark.slow
def test_branches_are_told_apart_where_a_pipeline_does_not_name_them(load: Load) -> None:
    """Of a scale that leaves one branch alone, Chroma's prediction is that of the prompt."""
    renderer, pipe, model = load("chroma")
    names: list[str] = []
    entered = pipe.transformer.cache_context

    def noting(name: str, **others: Any) -> Any:
        names.append(name)
        return entered(name, **others)

    pipe.transformer.cache_context = noting
    try:
        [wanted, *_] = requests(model, "taylorseer", 3)
        made(renderer, [wanted])
    finally:
        del pipe.transformer.cache_context
    assert names == ["0", "1"] * STEPS


@pytest.mark.slow
def test_a_call_that_fails_leaves_no_cache_behind(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    renderer, pipe, model = load("flux_dev")
    before = made(renderer, requests(model))
    with monkeypatch.context() as broken:
        broken.setattr(type(pipe.vae), "decode", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            renderer.render(requests(model, "taylorseer", 3))
    assert not pipe.transformer.is_cache_enabled
    assert np.array_equal(made(renderer, requests(model)), before)


def test_the_first_steps_are_as_many_as_diffusers_computes() -> None:
    assert TaylorSeerCacheConfig().disable_cache_before_step == TAYLORSEER_FIRST
    assert config_of_cache("taylorseer", 4, lambda: 0.0) == TaylorSeerCacheConfig(cache_interval=4)


@pytest.mark.slow
@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("name", TABLED)
def test_what_a_cache_keeps_is_estimated(load: Load, name: str, cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least what is kept, and with text of full length not much more."""
    renderer, pipe, model = load(name)
    if cache not in model.family.caches:
        pytest.skip("it has none")
    kept, decode = [], pipe.vae.decode
    monkeypatch.setattr(pipe.vae, "decode", lambda *args, **more: (kept.append(kept_bytes()), decode(*args, **more))[1])
    [request] = requests(model, cache, 3, height=64, width=64)[:1]
    made(renderer, [request])
    estimated = call_bytes(model, request.sampling)
    of_batch = estimated.cached * {None: 4, "bfloat16": 2}[estimated.cached_dtype] * renderer.info.batch_size
    assert 0 < kept[0] <= of_batch
    if name in ("flux_dev", "chroma"):  # whose text is padded to its limit
        assert kept[0] > 0.6 * of_batch


def kept_bytes() -> int:
    """What the states of all caches hold."""
    gc.collect()
    states = [each for each in gc.get_objects() if isinstance(each, TaylorSeerState | PyramidAttentionBroadcastState)]
    held = tree_leaves([getattr(each, "taylor_factors", None) or getattr(each, "cache", None) for each in states])
    tensors = {id(each): each for each in held if isinstance(each, torch.Tensor)}
    return sum(each.nbytes for each in tensors.values())
