"""The table of pipeline classes against diffusers itself, and tiny models of some of them through rendering.

That images of each stand alone, and that its settings act, is tested in tests/jobs/test_families.py.
"""

import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
import transformers

from darkroom.domain.adapters import LoraRef
from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import ModelRef, Sampling
from darkroom.rendering import model_facts
from darkroom.rendering.families import FAMILIES
from darkroom.rendering.family import Guidance, Latents
from darkroom.rendering.inspected_model import InspectedModel, call_default, check_arguments, text_tokenizer
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.model_files import components_of
from darkroom.rendering.renderer import Renderer, RendererSpec, load_renderer
from tests.rendering.tiny_families import PIPELINES, tiny, tokenizer
from tests.rendering.tiny_loras import tiny_lora
from tests.rendering.tiny_models import tiny_flux, tiny_sd

# Of different widths; the last one quotes words, which some pipelines write with another guidance.
PROMPTS = ("a red circle", "a large blue square beside a small green triangle on a white background", "a 'red' circle")
SIDES = {"kandinsky22": 64, "kandinsky3": 64, "if": 16}
SLOWEST = {"hidream"}  # makes 1024x1024 latent pixels a quarter, whatever is asked
RENDERED = sorted(PIPELINES.keys() - SLOWEST - {"stable_cascade"})  # whose VQGAN 0.42 saves and cannot load

Find = Callable[[str], InspectedModel]


@pytest.fixture(scope="module")
def find(tmp_path_factory: pytest.TempPathFactory) -> Find:
    made: dict[str, InspectedModel] = {}

    def found(name: str) -> InspectedModel:
        if name not in made:
            made[name] = inspect_model(ModelRef(str(tiny(name, tmp_path_factory.mktemp(name) / name))), "cpu")
        return made[name]

    return found


def requests(model: InspectedModel, side: int, **changes: object) -> list[ImageRequest]:
    guidance = 0.0 if model.family.guidance is Guidance.NONE else 3.0
    sampling = replace(Sampling("default", guidance, 2, side, side), **changes)
    return [ImageRequest(str(place), prompt, 100 + place, sampling) for place, prompt in enumerate(PROMPTS)]


def made(renderer: Renderer, wanted: list[ImageRequest]) -> list[np.ndarray]:
    images = renderer.render(wanted)
    assert [image.error for image in images] == [None] * len(wanted)
    return [image.pixels for image in images if image.pixels is not None]


def check_that_images_stand_alone(renderer: Renderer, wanted: list[ImageRequest]) -> None:
    """In order, backwards and alone, but for rounding: some processors' kernels compute rows of a batch of three in two
    ways. Certificates say by how much; CogView4's padding, before prompts were grouped, moved pixels by 9 of 255."""
    first = made(renderer, wanted)
    others = [made(renderer, wanted[::-1])[::-1], [made(renderer, [request])[0] for request in wanted]]
    for other in others:
        assert all(np.abs(one.astype(int) - two).max() <= 1 for one, two in zip(first, other, strict=True))


def num_moved(some: list[np.ndarray], others: list[np.ndarray]) -> int:
    return sum(not np.array_equal(one, other) for one, other in zip(some, others, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sana", "hunyuan_dit", "chroma", "if"])
def test_a_batch_may_have_a_scale_and_a_negative_prompt_for_each_image(find: Find, name: str) -> None:
    model = find(name)
    renderer = load_renderer(RendererSpec(model, "cpu", 3))
    assert renderer.info.mixes_guidance
    plain = requests(model, SIDES.get(name, 32))
    given = [(2.0, ""), (3.0, "a blue square"), (4.0, "")]
    mixed = [
        replace(each, sampling=replace(each.sampling, guidance_scale=scale, negative_prompt=negative))
        for each, (scale, negative) in zip(plain, given, strict=True)
    ]
    check_that_images_stand_alone(renderer, mixed)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen", "cogview4", "lumina2"])
def test_a_lora_acts_on_each_image_alone_and_leaves_no_trace(find: Find, tmp_path: Path, name: str) -> None:
    plain = find(name)
    file = tiny_lora(Path(plain.source), tmp_path / "lora")
    model = inspect_model(ModelRef(plain.source, loras=(LoraRef(str(file)),)), "cpu")
    renderer = load_renderer(RendererSpec(replace(model, identity=model.identity.base), "cpu", 3))
    without = requests(model, 32)
    wanted = [replace(each, adapters=((model.identity.loras[0].revision, 1.0),)) for each in without]
    check_that_images_stand_alone(renderer, wanted)
    first = made(renderer, without)
    assert num_moved(made(renderer, wanted), first) == 3
    assert num_moved(made(load_renderer(RendererSpec(plain, "cpu", 3)), without), first) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chroma", "cogview3", "cogview4", "hunyuan_dit", "lumina2"])
def test_what_the_last_step_predicts_is_decoded_to_the_picture(find: Find, name: str) -> None:
    """Of schedulers whose last step ends where it predicts."""
    model = find(name)
    assert model.family.latents is not Latents.OTHER
    renderer, [plain] = load_renderer(RendererSpec(model, "cpu", 1)), requests(model, 32)[:1]
    [image] = renderer.render([replace(plain, trajectory=(2,))])
    assert image.trajectory
    assert image.pixels is not None
    assert np.array_equal(made(renderer, [plain])[0], image.pixels)
    assert len(image.trajectory.steps) == 2
    height, width = image.pixels.shape[:2]
    predicted = image.trajectory.pixels[height:, :width]
    assert np.abs(predicted.astype(int) - image.pixels).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kandinsky3", "if", "qwen"])
def test_pixels_are_those_that_the_pipeline_saves(find: Find, name: str) -> None:
    """Of `np`, whose range is [0, 1] in every class, while that of `pt` is not."""
    model = find(name)
    [found] = made(load_renderer(RendererSpec(model, "cpu", 1)), [(asked := requests(model, SIDES.get(name, 32))[0])])
    pipe = diffusers.DiffusionPipeline.from_pretrained(model.source)
    pipe.set_progress_bar_config(disable=True)
    family = model.family
    exact = pipe(
        prompt=[asked.prompt],
        generator=[torch.Generator().manual_seed(asked.seed)],
        num_inference_steps=2,
        height=found.shape[0],
        width=found.shape[1],
        output_type="np",
        **{family.guidance_argument: 3.0},
        **({} if family.no_negative_prompt is None else {"negative_prompt": [family.no_negative_prompt]}),
    ).images
    assert np.abs(found.astype(int) - np.rint(exact[0] * 255)).max() <= 1


def test_the_table_is_true_of_the_installed_diffusers() -> None:
    for name, family in FAMILIES.items():
        if family.needs and find_spec(family.needs) is None:
            continue  # a stand-in, whose call takes anything
        parameters = inspect.signature(getattr(diffusers, name).__call__).parameters
        named = {"prompt", "generator", "output_type", "num_inference_steps", "height", "width", *family.arguments}
        named |= {family.only_at_steps[1]} if family.only_at_steps else set()
        named |= {"negative_prompt"} if family.takes_negative_prompt else set()
        named |= set() if family.guidance is Guidance.NONE else {family.guidance_argument}
        assert named <= set(parameters), name
        longest = parameters.get("max_sequence_length")
        limits = [tokens.limit for tokens in family.tokens if tokens.limit]
        if longest and limits and longest.default:
            assert longest.default - 5 <= limits[0] <= longest.default, name


def test_what_a_class_ignores_is_refused(tmp_path: Path) -> None:
    schnell = inspect_model(ModelRef(str(tiny_flux(tmp_path / "schnell"))), "cpu")
    assert call_default(schnell, "guidance_scale") == 0
    assert call_default(schnell, "num_inference_steps") == 28
    for name in ("guidance_scale", "negative_prompt"):
        with pytest.raises(DarkroomError, match=f"FluxPipeline of schnell takes no {name}; leave it out"):
            check_arguments([name], schnell, "leave it out")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("WanImageToVideoPipeline", "makes no image from text"),
        ("DiTPipeline", "makes no image from text"),
        ("StableAudioPipeline", "makes no image from text"),
        ("NoSuchPipeline", "the installed diffusers does not have"),
    ],
)
def test_a_class_that_makes_no_image_is_refused(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(DarkroomError, match=words) as caught:
        inspect_model(ModelRef(str(called(tmp_path, name))), "cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "needed"), [("StableCascadeDecoderPipeline", "image_embeddings"), ("KandinskyV22Pipeline", "image_embeds")]
)
def test_one_stage_of_several_is_refused(tmp_path: Path, name: str, needed: str) -> None:
    with pytest.raises(
        DarkroomError, match=f"{name}, whose call needs {needed} beside a prompt: one stage of"
    ) as caught:
        inspect_model(ModelRef(str(called(tmp_path, name))), "cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.needs])
def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(model_facts, "find_spec", lambda _name: None)
    with pytest.raises(DarkroomError, match=f"a {name} needs the package {FAMILIES[name].needs}; run `pip install"):
        inspect_model(ModelRef(str(called(tmp_path, name))), "cpu")


def test_numbers_in_an_index_are_no_component() -> None:
    index = {"text_encoder_select_layers": [1, 2], "unet": ["diffusers", "UNet"], "image_encoder": [None, None]}
    assert components_of(index) == {"unet": "diffusers"}


def test_a_processors_tokenizer_reads_text() -> None:
    """Of a processor, the first argument of a call is pictures."""
    words = tokenizer()
    processor = transformers.CLIPProcessor(transformers.CLIPImageProcessor(), words)
    assert text_tokenizer(processor) is words
    assert text_tokenizer(words) is words


@pytest.mark.slow
def test_a_class_that_the_table_does_not_know_is_unproved(tmp_path: Path) -> None:
    model = inspect_model(ModelRef(str(called(tmp_path, "PRXPipeline"))), "cpu")
    assert not model.family.is_proved
    assert model.family.takes_negative_prompt


def called(folder: Path, pipeline_class: str) -> Path:
    """A tiny model that says that it is of this class."""
    index = tiny_sd(folder / "model") / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": pipeline_class}))
    return index.parent
