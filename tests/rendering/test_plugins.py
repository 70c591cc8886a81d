"""Renderers of one's own: what they are called, and what is said of wrong ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from darkroom.domain.adapters import LoraRef
from darkroom.domain.errors import DarkroomError, WrongModel
from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import ModelRef, Sampling
from darkroom.domain.source_code import is_function_name, modules_of
from darkroom.rendering import openai_images
from darkroom.rendering.plugins import BrokenRenderer, RendererError, inspect_plug_in, load_plug_in
from darkroom.rendering.renderer import RendererSpec

HOME = "tests.rendering.own_renderers"
SAMPLING = Sampling("default", 3.0, 1, 16, 16)


def ref(function: str = "make", **given: object) -> ModelRef:
    return ModelRef("", make=f"{HOME}:{function}", **given)


def spec(function: str = "make", **given: object) -> RendererSpec:
    return RendererSpec(inspect_plug_in(ref(function, **given)), "cpu", 4)


def requests(*prompts: str) -> list[ImageRequest]:
    return [ImageRequest(prompt, prompt, seed, SAMPLING) for seed, prompt in enumerate(prompts)]


def revision(**given: object) -> str:
    return inspect_plug_in(ref(**given)).identity.revision


def test_a_renderer_is_loaded_by_its_functions_name_and_renders() -> None:
    found = load_plug_in(spec())
    first, second = found.render(requests("a", "b"))
    assert first.pixels is not None
    assert first.pixels.shape == (16, 16, 3)
    assert not np.array_equal(first.pixels, second.pixels)
    assert (found.info.is_seeded, first.cost, first.notes) == (True, 0.5, {"hand": "left"})
    assert not load_plug_in(spec("make_unseeded")).info.is_seeded


def test_its_identity_is_its_name_its_code_and_the_options_that_shape_pixels() -> None:
    identity = inspect_plug_in(ref()).identity
    assert (identity.repo_id, identity.pipeline_class, identity.is_plug_in) == ("painter", f"{HOME}:make", True)
    assert revision(options={"speed": 2.0}) == revision(options={"shade": 0}) == revision()
    others = [revision(options={"shade": 3}), revision(options={"place": "a"}), revision(revision="7")]
    assert len({revision(), *others}) == 4
    assert revision(revision="7", options={"place": "a"}) == revision(revision="7", options={"place": "b"})


def test_changed_code_is_another_model_and_is_refused_where_the_old_one_is_wanted(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    code = f"from {HOME} import Options, Painter, describe\nfrom darkroom.rendering.description import described_by\n"
    module = tmp_path / "changing_painter.py"
    module.write_text(f"{code}make = described_by(describe, Options)(lambda spec: Painter(spec))\n")
    before = RendererSpec(inspect_plug_in(ModelRef("", make="changing_painter:make")), "cpu", 1)
    module.write_text(f"{module.read_text()}# another line\n")
    modules_of.cache_clear()
    assert inspect_plug_in(ModelRef("", make="changing_painter:make")).identity != before.model.identity
    with pytest.raises(WrongModel, match="its code is not that which this job was started with"):
        load_plug_in(before)


def test_a_shipped_renderer_is_called_by_its_own_revision_and_not_by_its_code(monkeypatch) -> None:
    shipped = ModelRef("tiny", make=f"{openai_images.__name__}:make", options={"base_url": "http://127.0.0.1:1/v1"})
    before = inspect_plug_in(shipped).identity
    assert before.revision == "sha256:46ffa7b8acfaffd95bb16c856a0f679461998180693342071bf0f82efe716182"
    monkeypatch.setattr(openai_images, "REVISION", "openai-images-2")
    assert inspect_plug_in(shipped).identity != before


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("nowhere", "cannot be imported"),
        ("number", "number is a int; name a function"),
        ("undescribed", "it says nothing of itself"),
        ("raising_description", "what describes it raised ZeroDivisionError: division by zero"),
        ("described_by_text", "it is described by a str"),
        ("nameless", "Description.name=''"),
        ("takes_nonsense", "Description.takes: 'hight' is no setting"),
        ("without_size", "Description.defaults has no height"),
        ("with_odd_default", "Description.defaults: height=15 is out of range"),
    ],
)
def test_a_renderer_that_cannot_be_used_is_refused_before_it_is_made(function: str, said: str) -> None:
    with pytest.raises(DarkroomError) as caught:
        inspect_plug_in(ref(function))
    assert said in str(caught.value)
    assert f"model.make={HOME}:{function}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"options": {"shadow": 1}}, "no option 'shadow'; did you mean shade?"),
        ({"options": {"shade": 300}}, "model.options.shade=300 is out of range; give from 0 to 255"),
        ({"options": {"shade": "dark"}}, "shade='dark': give a whole number"),
        ({"dtype": "float16"}, "takes no dtype; leave it out"),
        ({"trust_remote_code": True}, "takes no trust_remote_code"),
        ({"loras": (LoraRef("ink.safetensors"),)}, "takes no loras; leave it out"),
        ({"vae": "my_vae"}, "takes no vae; leave it out"),
    ],
)
def test_what_it_does_not_take_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(DarkroomError) as caught:
        inspect_plug_in(ref(**given))
    assert said in str(caught.value)


@pytest.mark.parametrize("function", ["raising", "makes_text"])
def test_a_function_that_makes_no_renderer_is_named(function: str) -> None:
    with pytest.raises(
        BrokenRenderer, match=rf"^model\.make={HOME}:{function}: it (raised RuntimeError: no brush|made)"
    ):
        load_plug_in(spec(function))


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("returns_tuple", "a tuple of 2 requests; give a list of as many RenderedImage"),
        ("returns_arrays", "a ndarray of a request; give a RenderedImage"),
        ("returns_floats", r"pixels that are float64 \(16, 16, 3\)"),
        ("returns_gray", r"pixels that are uint8 \(16, 16\)"),
    ],
)
def test_a_renderer_that_returns_something_else_ends_the_job(function: str, said: str) -> None:
    with pytest.raises(BrokenRenderer, match=said):
        load_plug_in(spec(function)).render(requests("a", "b"))


def test_a_picture_of_another_size_and_one_that_raises_cost_their_own_record() -> None:
    [image] = load_plug_in(spec("returns_other_size")).render(requests("a"))
    assert (image.pixels, image.error) == (None, "16x8 pixels came back, and 16x16 were asked for")
    with pytest.raises(RendererError, match=f"^{HOME}:make: ValueError: no picture of this$"):
        load_plug_in(spec()).render(requests("impossible"))


def test_a_size_that_it_does_not_make_is_not_handed_over() -> None:
    [first, *others] = requests("a", "b")
    odd = replace(first, prompt="impossible", sampling=replace(SAMPLING, height=64))
    wrong, right = load_plug_in(spec()).render([odd, *others])
    assert wrong.error == "16x64 is no size that painter makes; give one of 16x16, 24x16"
    assert right.pixels is not None


def test_names_of_functions_are_told_from_addresses_and_folders() -> None:
    assert all(map(is_function_name, ["m:make", "a.b_c:make"]))
    assert not any(map(is_function_name, ["", "m", "m:", ":make", "C:\\x", "s3://a", "a/b:make", "m:make:x", "1:2"]))
