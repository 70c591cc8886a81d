"""LoRAs change pixels by what their files say, are switched without a trace, and fit or are refused by name."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline

from darkroom.domain.adapters import Active, LoraRef
from darkroom.domain.errors import DarkroomError, WrongModel
from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import ModelRef, Sampling
from darkroom.rendering.diffusion import DiffusersRenderer
from darkroom.rendering.inspected_model import InspectedModel, shared_models
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.patches import PATCHES, Patch
from darkroom.rendering.pretrained import LoadedPipeline, load_pipeline
from darkroom.rendering.renderer import RendererSpec
from tests.rendering.helpers import SAMPLING, largest_difference, requests, without
from tests.rendering.tiny_loras import as_kohya

pytestmark = pytest.mark.slow  # peft puts layers around layers in half a second
UNSHARED = without("shared_work")


def inspected(model: Path, *files: Path | LoraRef, dtype: str = "float32") -> InspectedModel:
    refs = tuple(each if isinstance(each, LoraRef) else LoraRef(str(each)) for each in files)
    return inspect_model(ModelRef(str(model), dtype=dtype, loras=refs), "cpu")


def loaded(
    model: InspectedModel, patches: Sequence[Patch] = PATCHES, batch_size: int = 3
) -> tuple[DiffusersRenderer, LoadedPipeline]:
    [shared] = shared_models([model])
    spec = RendererSpec(shared, "cpu", batch_size)
    pipeline = load_pipeline(spec, patches)
    return DiffusersRenderer(pipeline, spec), pipeline


def rendered(
    renderer: DiffusersRenderer, active: Active = (), sampling: Sampling = SAMPLING, count: int = 3
) -> list[np.ndarray]:
    images = renderer.render([replace(each, adapters=active) for each in requests(count, sampling)])
    assert all(image.pixels is not None for image in images), images
    return [image.pixels for image in images if image.pixels is not None]


def active(model: InspectedModel, weight: float = 1.0) -> Active:
    return tuple((part.revision, weight * part.weight) for part in model.identity.loras)


@pytest.mark.parametrize("name", ["style", "all"])
def test_work_shared_under_a_lora_makes_the_same_pixels(
    models: dict[str, Path], loras: dict[str, Path], name: str
) -> None:
    model = inspected(models["sd"], loras[name])
    (shared, pipeline), (plain, _) = loaded(model), loaded(model, UNSHARED)
    assert pipeline.patches.names[:2] == ("loras", "shared_work")
    base = rendered(plain)
    for weight in (1.0, 0.5):
        some, others = rendered(shared, active(model, weight)), rendered(plain, active(model, weight))
        assert largest_difference(some, others) <= 1
        assert largest_difference(some, base) > 10  # so that the above says something


def test_pixels_are_those_of_diffusers_alone(models: dict[str, Path], loras: dict[str, Path]) -> None:
    """Its own call, with its own loading and weights, of the same noise."""
    model = inspected(models["sd"], loras["all"])
    renderer, _ = loaded(model)
    pipe = DiffusionPipeline.from_pretrained(models["sd"])
    pipe.set_progress_bar_config(disable=True)
    pipe.load_lora_weights(str(loras["all"].parent), adapter_name="a")
    pipe.set_adapters(["a"], [0.7])
    [request] = requests(1)
    noise = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(request.seed))
    [image] = pipe(
        request.prompt, guidance_scale=4.0, num_inference_steps=3, height=16, width=16, latents=noise, output_type="np"
    ).images
    assert largest_difference(rendered(renderer, active(model, 0.7), count=1), [(image * 255).round()]) <= 1


@pytest.mark.parametrize("base", ["sd", "sdxl", "sd3"])
def test_a_lora_that_is_switched_off_leaves_the_model_as_it_was(
    models: dict[str, Path], loras: dict[str, Path], base: str
) -> None:
    model = inspected(models[base], loras["all" if base == "sd" else base])
    renderer, _ = loaded(model)
    plain, _ = loaded(inspected(models[base]))
    before = rendered(plain)
    with_lora = rendered(renderer, active(model, 3.0))
    assert largest_difference(with_lora, before) > 5
    np.testing.assert_array_equal(rendered(renderer), before)
    np.testing.assert_array_equal(rendered(renderer, active(model, 3.0)), with_lora)


def test_several_loras_add_up_and_one_of_them_does_not_stay(models: dict[str, Path], loras: dict[str, Path]) -> None:
    """The one has layers that the other has not, in the text encoder too."""
    both = inspected(models["sd"], LoraRef(str(loras["style"]), 0.5, "a"), LoraRef(str(loras["all"]), 1.0, "b"))
    renderer, _ = loaded(both)
    first, second = ((each,) for each in active(both))
    apart = [rendered(renderer, each) for each in (first, second, (*first, *second))]
    for place, each in enumerate(((first, "style", 0.5), (second, "all", 1.0))):
        alone = inspected(models["sd"], loras[each[1]])
        only, _ = loaded(alone)
        np.testing.assert_array_equal(apart[place], rendered(only, active(alone, each[2])))
    assert largest_difference(apart[2], apart[0]) > 5
    assert largest_difference(apart[2], apart[1]) > 5


def test_text_is_encoded_anew_where_a_lora_changes_it(models: dict[str, Path], loras: dict[str, Path]) -> None:
    both = inspected(models["sd"], LoraRef(str(loras["style"]), name="a"), LoraRef(str(loras["all"]), name="b"))
    renderer, pipeline = loaded(both)
    calls = []
    pipeline.pipe.text_encoder.register_forward_hook(lambda *_: calls.append(1))
    first, second = active(both)
    for each, count in (((), 2), ((first,), 0), ((second,), 2), ((first, second), 0), (((second[0], 0.5),), 2)):
        before = len(calls)
        rendered(renderer, each)
        assert len(calls) - before == count, each


def test_a_lora_in_the_names_of_other_trainers_is_the_same_lora(
    models: dict[str, Path], loras: dict[str, Path], tmp_path: Path
) -> None:
    model, other = (
        inspected(models["sd"], file) for file in (loras["style"], as_kohya(loras["style"], tmp_path / "k.safetensors"))
    )
    assert other.identity.loras[0].name == "k"
    np.testing.assert_array_equal(*(rendered(loaded(each)[0], active(each)) for each in (model, other)))


def test_a_lora_that_reads_the_weights_themselves_acts(models: dict[str, Path], loras: dict[str, Path]) -> None:
    model = inspected(models["sd"], loras["dora"])
    (shared, _), (plain, _) = loaded(model), loaded(model, UNSHARED)
    assert largest_difference(rendered(shared, active(model)), rendered(plain, active(model))) <= 1
    assert largest_difference(rendered(shared, active(model)), rendered(shared)) > 5


def test_neighbours_and_half_precision(models: dict[str, Path], loras: dict[str, Path]) -> None:
    model = inspected(models["sd"], loras["all"], dtype="bfloat16")
    renderer, pipeline = loaded(model)
    kinds = {each.dtype for part in (pipeline.pipe.unet, pipeline.pipe.text_encoder) for each in part.parameters()}
    assert kinds == {torch.bfloat16}
    whole = rendered(renderer, active(model))
    np.testing.assert_array_equal(whole[:1], rendered(renderer, active(model), count=1))
    assert largest_difference(whole, rendered(renderer)) > 5


@pytest.mark.parametrize(("base", "lora"), [("sd", "sdxl"), ("sd", "sd3"), ("sdxl", "style"), ("sd3", "style")])
def test_a_lora_of_another_architecture_is_refused(
    models: dict[str, Path], loras: dict[str, Path], base: str, lora: str
) -> None:
    with pytest.raises(DarkroomError, match=rf"model\.loras .*{loras[lora].parent.name}.*for this model") as caught:
        loaded(inspected(models[base], loras[lora]))
    assert "\n" not in str(caught.value)


def test_a_lora_that_is_changed_after_it_was_digested_is_not_loaded(
    models: dict[str, Path], loras: dict[str, Path], tmp_path: Path
) -> None:
    file = as_kohya(loras["style"], tmp_path / "a.safetensors")
    model = inspected(models["sd"], file)
    as_kohya(loras["style"], file, alpha=1.0)
    with pytest.raises(WrongModel, match=r"model\.loras a .*a\.safetensors in .* is sha256:"):
        loaded(model)


def test_models_that_differ_in_loras_alone_are_loaded_once(models: dict[str, Path], loras: dict[str, Path]) -> None:
    some = [inspected(models["sd"], *files) for files in ((), (loras["style"],), (loras["style"], loras["all"]))]
    [shared] = shared_models(some)
    assert shared.identity == some[0].identity
    assert [each.part.name for each in shared.parts] == ["style", "all"]
    assert len(shared_models([*some, inspected(models["sdxl"])])) == 2


def test_a_request_without_loras_is_as_before() -> None:
    assert ImageRequest("id", "a cat", 1, SAMPLING).batch_key(False) == (SAMPLING, ())
