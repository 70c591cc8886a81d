"""The ordered list of patches: which apply to what, and that lossless ones leave pictures as they are."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from diffusers import StableDiffusion3Pipeline, StableDiffusionPipeline

from darkroom.rendering.cpu_layers import has_onednn
from darkroom.rendering.patches import PATCHES, AppliedPatches, Patch, apply_patches
from tests.rendering.helpers import SAMPLING, Models, largest_difference, load_with_pipe, pixels, spec_of, without

CPU_LAYERS = ["subpixel_upsampling", "packed_layers", "channels_last_norms"] if has_onednn() else []


@pytest.mark.parametrize(
    ("kind", "changes", "wanted"),
    [
        (StableDiffusionPipeline, {}, [*CPU_LAYERS, "shared_work", "step_cache"]),
        (StableDiffusionPipeline, {"compile": True}, ["step_cache", "compile"]),
        (StableDiffusionPipeline, {"device": "cuda"}, ["step_cache"]),
        (StableDiffusionPipeline, {"device": "cuda", "compile": True}, ["channels_last", "step_cache", "compile"]),
        (StableDiffusionPipeline, {"device": "mps"}, ["step_cache"]),
        (StableDiffusion3Pipeline, {}, CPU_LAYERS),
        (StableDiffusion3Pipeline, {"device": "cuda", "compile": True}, ["channels_last", "compile"]),
    ],
)
def test_which_patches_apply(models: Models, kind: type, changes: dict, wanted: list[str]) -> None:
    pipe = kind.__new__(kind)
    pipe.unet = object()
    spec = replace(spec_of(models, "sd"), **changes)
    assert [patch.name for patch in PATCHES if patch.applies(pipe, spec)] == wanted
    model = replace(spec.model, identity=replace(spec.model.identity, dtype="float8"))
    assert [patch.name for patch in PATCHES if patch.applies(pipe, replace(spec, model=model))] == ["float8", *wanted]


def test_layers_are_replaced_before_their_calls_are_wrapped_and_compiling_is_last() -> None:
    names = [patch.name for patch in PATCHES]
    assert names.index("float8") < names.index("packed_layers")
    assert names.index("subpixel_upsampling") < names.index("packed_layers")
    assert names[-3:] == ["shared_work", "step_cache", "compile"]


def test_patches_are_applied_in_order_and_their_contexts_surround_a_call(models: Models) -> None:
    done: list[Any] = []

    class Context:
        def __init__(self, name: str, count: int) -> None:
            self.name, self.count = name, count

        def __enter__(self) -> None:
            done.append(("enter", self.name, self.count))

        def __exit__(self, *_: object) -> None:
            done.append(("exit", self.name, self.count))

    def patch(name: str, applies: bool = True, has_context: bool = True) -> Patch:
        def apply(pipe: Any, spec: Any) -> Any:
            done.append(("apply", name, pipe))
            return (lambda sampling, count: Context(name, count)) if has_context else None

        return Patch(name, lambda pipe, spec: applies, apply)

    listed = [patch("a"), patch("b", applies=False), patch("c", has_context=False), patch("d")]
    applied = apply_patches("pipe", spec_of(models, "sd"), listed)
    assert applied.names == ("a", "c", "d")
    assert done == [("apply", name, "pipe") for name in applied.names]
    done.clear()
    with suppress(KeyError), applied.around_call(SAMPLING, 4):
        done.append("call")
        raise KeyError
    assert done == [("enter", "a", 4), ("enter", "d", 4), "call", ("exit", "d", 4), ("exit", "a", 4)]


def test_without_patches_a_call_has_no_context() -> None:
    with AppliedPatches().around_call(SAMPLING, 4):
        pass


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3"])
def test_lossless_patches_leave_pictures_as_they_are(models: Models, name: str) -> None:
    """Each left out in turn, and all of them."""
    lossless = [patch.name for patch in PATCHES if patch.lossy_by is None]
    exact = pixels(load_with_pipe(models, name, patches=())[0], count=2)
    for left_out in ([], *([each] for each in lossless if each != "compile")):
        renderer, _ = load_with_pipe(models, name, patches=without(*left_out))
        assert largest_difference(pixels(renderer, count=2), exact) <= 1
