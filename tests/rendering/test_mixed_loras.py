"""LoRAs of each image in a batch of many: every image is, bit by bit, what it is in a batch of its own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from darkroom.domain.adapters import Active, LoraRef
from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import Sampling
from darkroom.rendering.adapters import RowWeights
from darkroom.rendering.diffusion import DiffusersRenderer
from darkroom.rendering.inspected_model import InspectedModel, shared_models
from darkroom.rendering.pretrained import load_pipeline
from darkroom.rendering.renderer import RendererSpec, load_renderer
from tests.rendering.helpers import SAMPLING, requests
from tests.rendering.test_adapters import active, inspected, loaded
from tests.rendering.test_conditioning import rows_seen
from tests.rendering.test_families import SIDES, made, num_moved
from tests.rendering.test_families import check_that_images_stand_alone as check_rows
from tests.rendering.test_families import requests as family_requests
from tests.rendering.tiny_families import pag, tiny
from tests.rendering.tiny_loras import tiny_lora
from tests.rendering.tiny_models import tiny_sd, tiny_sdxl

WEIGHTS = ((1.0, 0.0), (0.5, -1.3), (0.0, 0.0), (0.0, 0.7), (0.3, 0.7))  # of two LoRAs, for each image
UNGUIDED = replace(SAMPLING, guidance_scale=1.0)
TAKING_LORAS = (
    *("aura_flow", "chroma", "cogview4", "flux2", "flux2_klein", "flux_dev", "if"),
    *("lumina2", "qwen", "sana", "sana_sprint"),
)


def mixed(model: InspectedModel, sampling: Sampling = SAMPLING) -> list[ImageRequest]:
    """Images of other weights each."""
    revisions = [part.revision for part in model.identity.loras]
    rows: list[Active] = [
        tuple((each, weight) for each, weight in zip(revisions, row, strict=False) if weight) for row in WEIGHTS
    ]
    asked = requests(len(rows), sampling)
    return [replace(each, adapters=row) for each, row in zip(asked, rows, strict=True)]


def check_that_images_stand_alone(renderer: DiffusersRenderer, wanted: list[ImageRequest]) -> None:
    assert renderer.info.mixes_loras
    together = [image.pixels for image in renderer.render(wanted)]
    alone = [renderer.render([request])[0].pixels for request in wanted]
    for one, other in zip(together, alone, strict=True):
        assert one is not None
        np.testing.assert_array_equal(one, other)
    plain = [image.pixels for image in renderer.render([replace(each, adapters=()) for each in wanted])]
    same = [np.array_equal(one, other) for one, other in zip(together, plain, strict=True)]
    assert same == [not request.adapters for request in wanted]


def two_loras(base: str, models: dict[str, Path], loras: dict[str, Path], dtype: str = "float32") -> InspectedModel:
    files = {"sd": ("all", "style"), "sdxl": ("sdxl",), "sd3": ("sd3",)}[base]
    return inspected(models[base], *(loras[file] for file in files), dtype=dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("base", ["sd", "sdxl", "sd3"])
def test_images_of_other_loras_and_weights_share_a_batch(
    models: dict[str, Path], loras: dict[str, Path], base: str, dtype: str
) -> None:
    """One of SD's is in every kind of layer, and SD's and SDXL's are in a text encoder too."""
    model = two_loras(base, models, loras, dtype)
    renderer, _ = loaded(model, batch_size=6)
    for sampling in (SAMPLING, UNGUIDED):
        check_that_images_stand_alone(renderer, mixed(model, sampling))


@pytest.mark.slow
def test_guidance_and_prompts_are_mixed_with_them(models: dict[str, Path], loras: dict[str, Path]) -> None:
    model = two_loras("sd", models, loras)
    renderer, pipeline = loaded(model, batch_size=6)
    given = [(2.0, ""), (5.0, "blue"), (9.0, "a (red:1.4) square"), (4.0, ""), (3.0, "blue")]
    wanted = [
        replace(
            request,
            prompt=f"(a red:0.7) circle {place % 2}",
            sampling=replace(SAMPLING, guidance_scale=scale, negative_prompt=negative, prompt_syntax="a1111"),
        )
        for place, (request, (scale, negative)) in enumerate(zip(mixed(model), given, strict=True))
    ]
    assert len({each.batch_key(renderer.info.mixes_guidance, renderer.info.mixes_loras) for each in wanted}) == 1
    check_that_images_stand_alone(renderer, wanted)
    assert rows_seen(renderer, pipeline.pipe.unet, wanted) == [12] * 3


@pytest.mark.slow
def test_steps_that_are_guided_or_reused_in_part(models: dict[str, Path], loras: dict[str, Path]) -> None:
    model = two_loras("sd", models, loras)
    renderer, _ = loaded(model, batch_size=6)
    partly = Sampling("ddim", 4.0, 4, 16, 16, "blue", 0.25, 0.75, cache_interval=2, freeu_b1=1.2)
    check_that_images_stand_alone(renderer, mixed(model, partly))


@pytest.mark.slow
def test_the_order_in_which_loras_are_named_changes_nothing(models: dict[str, Path], loras: dict[str, Path]) -> None:
    model = two_loras("sd", models, loras)
    renderer, _ = loaded(model)
    [request] = requests(1)
    both = active(model, 0.5)
    one, other = (renderer.render([replace(request, adapters=each)])[0].pixels for each in (both, both[::-1]))
    np.testing.assert_array_equal(one, other)  # type: ignore[arg-type]


@pytest.mark.slow
def test_what_would_not_be_exact_is_not_mixed(models: dict[str, Path], loras: dict[str, Path]) -> None:
    """DoRA is not linear in its weight; compiled code would hold one batch's weights; a certificate may say no."""
    dora = inspected(models["sd"], loras["dora"], LoraRef(str(loras["style"])))
    assert not loaded(dora)[0].info.mixes_loras
    assert not loaded(inspected(models["sd"]))[0].info.mixes_loras
    model = two_loras("sd", models, loras)
    spec = RendererSpec(replace(model, identity=model.identity.base), "cpu", 2)
    pipeline = load_pipeline(spec)
    seen = [DiffusersRenderer(pipeline, replace(spec, **each)).info for each in ({}, {"may_mix": False})]
    assert [info.mixes_loras for info in seen] == [True, False]
    assert not DiffusersRenderer(pipeline, replace(spec, compile=True)).info.mixes_loras


def test_a_batch_key_leaves_loras_out_where_they_are_mixed() -> None:
    [plain] = requests(1)
    ink = replace(plain, adapters=(("a", 0.5),), sampling=replace(SAMPLING, lora="ink", lora_weight=0.5))
    assert plain.batch_key(True) != ink.batch_key(True)
    assert plain.batch_key(True, True) == ink.batch_key(True, True)
    assert plain.batch_key(False, True) == ink.batch_key(False, True)
    other = replace(ink, sampling=replace(ink.sampling, num_inference_steps=7))
    assert other.batch_key(True, True) != ink.batch_key(True, True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(8,), (5, 8), (8, 3, 3)])
def test_weights_of_rows_multiply_as_numbers_do(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    scales = [1.1, -0.7, 0.0]
    added = torch.randn(6, *shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    found = added * RowWeights(scales)
    assert found.dtype == dtype
    for row, scale in enumerate([*scales, *scales]):
        assert torch.equal(found[row], added[row] * scale if scale else torch.zeros_like(added[row]))


def test_a_row_without_a_lora_is_left_bit_by_bit_whatever_the_lora_makes_of_it() -> None:
    result = torch.tensor([[-0.0, 0.0, 1.5]] * 2)
    found = result + torch.tensor([[1.0, torch.inf, torch.nan]] * 2) * RowWeights([1.0, 0.0])
    assert torch.equal(found[1].view(torch.int32), result[1].view(torch.int32))
    assert found[0, 1] == torch.inf


def test_one_row_becomes_one_for_each_image_and_other_numbers_of_rows_are_refused() -> None:
    added = torch.tensor([[2.0, 3.0]])
    assert torch.equal(added * RowWeights([1.0, 0.5]), torch.tensor([[2.0, 3.0], [1.0, 1.5]]))
    with pytest.raises(ValueError, match="3 rows for 2 images"):
        torch.ones(3, 2) * RowWeights([1.0, 0.5])


@pytest.mark.slow
@pytest.mark.parametrize("name", TAKING_LORAS)
def test_of_every_family_that_mixes_them_images_stand_alone(name: str, tmp_path: Path) -> None:
    """But for rounding: some processors' kernels compute rows of a batch in two ways, whatever LoRAs these have."""
    folder = tiny(name, tmp_path / "model")
    model = inspected(folder, tiny_lora(folder, tmp_path / "lora"))
    [shared] = shared_models([model])
    renderer = load_renderer(RendererSpec(shared, "cpu", 3))
    assert renderer.info.mixes_loras
    revision, side = model.identity.loras[0].revision, SIDES.get(name, 32)
    wanted = [
        replace(request, adapters=((revision, weight),) if weight else ())
        for request, weight in zip(family_requests(model, side), (1.0, 0.0, -0.4), strict=True)
    ]
    check_rows(renderer, wanted)
    plain_images = made(renderer, [replace(request, adapters=()) for request in wanted])
    assert num_moved(made(renderer, wanted), plain_images) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "plain"), [("StableDiffusionPAGPipeline", tiny_sd), ("StableDiffusionXLPAGPipeline", tiny_sdxl)]
)
def test_text_that_a_pipeline_encodes_itself_is_of_each_images_loras(
    tmp_path: Path, kind: str, plain: Callable[[Path], Path]
) -> None:
    """With perturbed attention, whose calls have three rows an image, one of them for the image without text."""
    folder = pag(kind, plain, tmp_path / "model")
    files = [tiny_lora(folder, tmp_path / str(seed), seed, with_text=True) for seed in (1, 4)]
    model = inspected(folder, LoraRef(str(files[0]), name="a"), LoraRef(str(files[1]), name="b"))
    renderer, _ = loaded(model, batch_size=6)
    check_that_images_stand_alone(renderer, mixed(model, replace(SAMPLING, pag_scale=2.0)))
