"""The renderer that asks a server for its images, against a server on this machine."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError, EndsRun, TryAgain
from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import ModelRef, Sampling
from darkroom.rendering import http_calls
from darkroom.rendering.plugins import inspect_plug_in, load_plug_in
from darkroom.rendering.renderer import RenderedImage, Renderer, RendererSpec
from tests.rendering.images_server import ImagesServer, serving

KEY = "sk-secret-4711"
SAMPLING = Sampling("default", 7.0, 9, 16, 24, "blur")
ALL = "seed,negative_prompt,guidance_scale,num_inference_steps"


@pytest.fixture
def server() -> Iterator[ImagesServer]:
    with serving() as found:
        yield found


@pytest.fixture(autouse=True)
def _impatient(monkeypatch) -> None:
    monkeypatch.setattr(http_calls, "_FIRST_WAIT_S", 0.01)


def ref(server: ImagesServer | str, model: str = "tiny", **options: Any) -> ModelRef:
    url = server if isinstance(server, str) else server.url
    return ModelRef(model, make="darkroom.rendering.openai_images:make", options={"base_url": url, **options})


def renderer(server: ImagesServer | str, model: str = "tiny", **options: Any) -> Renderer:
    return load_plug_in(RendererSpec(inspect_plug_in(ref(server, model, **options)), "cpu", 8))


def images(found: Renderer, *prompts: str) -> list[RenderedImage]:
    return found.render([ImageRequest(prompt, prompt, seed, SAMPLING) for seed, prompt in enumerate(prompts)])


def test_it_sends_what_the_server_takes_and_nothing_else(server: ImagesServer) -> None:
    images(renderer(server, parameters=ALL, quality="high"), "a cat")
    images(renderer(server, response_format="none"), "a dog")
    usual = {"model": "tiny", "n": 1, "size": "24x16"}
    settings = {"seed": 0, "negative_prompt": "blur", "guidance_scale": 7.0, "num_inference_steps": 9}
    assert server.bodies == [
        {**usual, "prompt": "a cat", "quality": "high", "response_format": "b64_json", **settings},
        {**usual, "prompt": "a dog"},
    ]


def test_equal_seeds_give_equal_pixels_and_prompts_their_own(server: ImagesServer) -> None:
    found = renderer(server, parameters="seed")
    first, other = images(found, "a cat", "a dog")
    [again] = images(found, "a cat")
    assert first.pixels is not None
    assert first.pixels.shape == (16, 24, 3)
    assert np.array_equal(first.pixels, again.pixels)
    assert not np.array_equal(first.pixels, other.pixels)


def test_without_a_seed_there_is_no_promise(server: ImagesServer) -> None:
    assert not renderer(server).info.is_seeded
    assert renderer(server, parameters="seed").info.is_seeded
    assert inspect_plug_in(ref(server)).plug_in.description.is_tried is False  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("prompt", "error"),
    [
        ("down", "the server failed: it answered 500, something is wrong here, 3 times"),
        ("garbled", "the reply is no JSON"),
        ("linked", "the reply has an address and no b64_json"),
        ("torn", "the reply's image cannot be read (UnidentifiedImageError)"),
        ("small", "12x16 pixels came back, and 24x16 were asked for"),
        ("odd", "the server refuses this request: 400, cannot do this, None"),
    ],
)
def test_what_the_server_says_of_one_prompt_is_that_images_error(server: ImagesServer, prompt: str, error: str) -> None:
    wrong, right = images(renderer(server, max_attempts=3), prompt, "a cat")
    assert (wrong.pixels, wrong.error, wrong.is_filtered) == (None, error, False)
    assert right.pixels is not None


def test_a_refusal_is_told_from_a_failure_and_costs_nothing(server: ImagesServer) -> None:
    refused, made, revised = images(renderer(server, price=0.04), "forbidden", "a cat", "revise a horse")
    assert refused.is_filtered
    assert refused.error == "refused (moderation_blocked): the safety system refuses this prompt"
    assert [image.cost for image in (refused, made, revised)] == [None, 0.04, 0.04]
    assert (dict(made.notes), dict(revised.notes)) == ({}, {"revised_prompt": "revise a horse, in oil"})
    assert server.calls["forbidden"] == 1


@pytest.mark.parametrize(("prompt", "num_calls"), [("busy", 3), ("flaky", 2)])
def test_what_passes_is_tried_again(server: ImagesServer, prompt: str, num_calls: int) -> None:
    [image] = images(renderer(server), prompt)
    assert image.pixels is not None
    assert server.calls[prompt] == num_calls


@pytest.mark.slow
def test_a_silent_server_is_asked_again(server: ImagesServer) -> None:
    [image] = images(renderer(server, timeout_s=1), "silent")
    assert image.pixels is not None
    assert server.calls["silent"] == 2


@pytest.mark.parametrize(
    ("model", "prompt", "said"),
    [
        ("tiny", "elsewhere", "answers 302; check model.options.base_url"),
        ("other", "a cat", "404, no model other; check model.options.base_url and model.repo_id=other"),
        ("tiny", "broke", "no image is made for this account any more (429, no credit is left)"),
    ],
)
def test_what_every_prompt_would_meet_ends_the_job(server: ImagesServer, model: str, prompt: str, said: str) -> None:
    with pytest.raises(EndsRun) as caught:
        images(renderer(server, model), prompt)
    assert said in str(caught.value)
    assert isinstance(caught.value, DarkroomError)


def test_a_server_that_fails_image_after_image_ends_the_job_for_now(server: ImagesServer) -> None:
    found = renderer(server, max_attempts=1)
    for number in range(2):
        assert {image.pixels for image in images(found, *(f"down {number} {each}" for each in range(8)))} == {None}
    with pytest.raises(TryAgain, match="24 images in a row failed"):
        images(found, *(f"down {each}" for each in range(8)))
    assert images(found, "a cat")[0].pixels is not None


def test_a_server_that_is_not_there_is_named_before_anything_is_asked() -> None:
    with serving() as server:
        url = server.url
    with pytest.raises(TryAgain, match=rf"^{url} cannot be reached .*; start the server"):
        renderer(url, max_attempts=1)


@pytest.mark.slow
def test_so_many_images_at_once_are_asked_for() -> None:
    with serving(delay_s=0.1, num_together=3) as server:
        images(renderer(server, concurrency=3), *map(str, range(6)))
        assert server.most_at_once == 3


# The key -------------------------------------------------------------------------------------------------------------


def test_the_key_comes_from_the_environment_and_goes_to_the_server_alone(monkeypatch) -> None:
    monkeypatch.setenv("IMAGES_KEY", KEY)
    with serving(key=KEY) as server:
        made, wrong = images(renderer(server, key_variable="IMAGES_KEY"), "a cat", "odd")
    assert made.pixels is not None
    assert wrong.error == "the server refuses this request: 400, cannot do this, Bearer ***"


@pytest.mark.parametrize(
    ("variable", "remedy"), [("IMAGES_KEY", "check the key in IMAGES_KEY"), (None, "name its variable")]
)
def test_a_wrong_key_is_refused_before_anything_is_asked_and_not_repeated(variable, remedy: str, monkeypatch) -> None:
    monkeypatch.setenv("IMAGES_KEY", KEY)
    with serving(key="another") as server, pytest.raises(EndsRun) as caught:
        renderer(server, key_variable=variable)
    assert remedy in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"key_variable": "NO_SUCH_KEY"}, "model.options.key_variable=NO_SUCH_KEY: this process has no such variable"),
        ({"key_variable": "BROKEN_KEY"}, "model.options.key_variable=BROKEN_KEY: what it holds is no key"),
        ({"key_variable": KEY}, "model.options.key_variable: give the name of a variable"),
        ({"base_url": "127.0.0.1"}, "model.options.base_url=127.0.0.1: give an address"),
        ({"base_url": f"http://me:{KEY}@host/v1"}, "model.options.base_url: credentials in an address end up in logs"),
        ({"parameters": "seed,steps"}, "model.options.parameters: 'steps' is none; give some of seed"),
        ({"sizes": "1024"}, "model.options.sizes=1024: give widthxheight"),
        ({"sizes": "1024x1020"}, "height=1020 is out of range"),
    ],
)
def test_options_that_cannot_be_are_refused(given: dict[str, Any], said: str, monkeypatch) -> None:
    monkeypatch.setenv("BROKEN_KEY", f"{KEY}\n")
    with pytest.raises(DarkroomError) as caught:
        inspect_plug_in(ref("http://127.0.0.1:1/v1", **given))
    assert said in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_model_must_be_named() -> None:
    with pytest.raises(DarkroomError, match="give the model's name at the server"):
        inspect_plug_in(ref("http://127.0.0.1:1/v1", model=""))
