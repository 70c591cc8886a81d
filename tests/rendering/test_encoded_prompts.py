"""Embeddings that are kept make the pixels of new ones, in every family, and spare the text encoders. Weighted
words: embeddings against a computation by hand, and images that are their own prompt's alone.
"""

import inspect
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.demo.encoders import MAX_TOKENS, make_tokenizer
from darkroom.domain.adapters import Active
from darkroom.domain.prompt_syntax import A1111, read_prompt
from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import ModelRef
from darkroom.rendering import encoded_prompts
from darkroom.rendering.conditioning import TextCache, text_arguments
from darkroom.rendering.encoded_prompts import EncodedPrompts, token_weights
from darkroom.rendering.family import Family
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.renderer import RendererSpec, load_renderer
from tests.rendering.helpers import SAMPLING, Models, load, load_with_pipe
from tests.rendering.test_families import RENDERED, SIDES, made, requests
from tests.rendering.tiny_families import tiny
from tests.rendering.tiny_models import tiny_flux

ENCODING = sorted({*RENDERED} - {"kandinsky22"})  # whose prior encodes
WEIGHTED = replace(SAMPLING, prompt_syntax=A1111)
TOKENIZER = make_tokenizer()


def counted(monkeypatch: pytest.MonkeyPatch, class_name: str) -> Counter[str]:
    """Prompts that a class's `encode_prompt` encodes, counted."""
    kind, found = getattr(diffusers, class_name), Counter[str]()
    encode: Callable[..., Any] = kind.encode_prompt

    def counting(self: Any, prompt: Any = None, *args: Any, **kwargs: Any) -> Any:
        found.update(set(prompt or ()))
        return encode(self, prompt, *args, **kwargs)

    counting.__signature__ = inspect.signature(encode)  # type: ignore[attr-defined]
    monkeypatch.setattr(kind, "encode_prompt", counting)
    return found


def with_prompts(wanted: list[ImageRequest], prompts: list[str]) -> list[ImageRequest]:
    return [replace(each, prompt=prompt) for each, prompt in zip(wanted, prompts, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODING)
def test_a_prompt_is_encoded_once_and_makes_the_same_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    model = inspect_model(ModelRef(str(tiny(name, tmp_path / name))), "cpu")
    found = counted(monkeypatch, model.identity.pipeline_class)
    renderer, side = load_renderer(RendererSpec(model, "cpu", 2)), SIDES.get(name, 32)
    wanted = requests(model, side)[:2]
    first, second = with_prompts(wanted, ["a red disc", "a blue disc"]), with_prompts(wanted, ["a blue disc", "a red"])
    made(renderer, first)
    before = Counter(found)
    again, others = made(renderer, first), made(renderer, second)
    negatives = {""} & before.keys()  # which a call of its own may encode
    assert found["a red disc"] == before["a red disc"]
    assert found["a blue disc"] == before["a blue disc"]
    assert found["a red"] == before["a red disc"] > 0
    assert found.keys() - negatives >= {"a red", "a red disc"}
    fresh = load_renderer(RendererSpec(model, "cpu", 2))
    for one, two in zip([*again, *others], [*made(fresh, first), *made(fresh, second)], strict=True):
        np.testing.assert_array_equal(one, two)


class Pipe:
    """Encodes each text as its length, in `torch.float32`, with a shared output in the second place."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def encode_prompt(
        self, prompt: list[str], negative_prompt: Any = None, prompt_embeds: Any = None, scale: float = 1.0
    ) -> Any:
        self.asked.append(prompt)
        lengths = torch.tensor([[float(len(text))] for text in prompt]) * scale
        return lengths, torch.arange(2.0), None, [torch.ones(len(text)) for text in prompt]


@pytest.fixture
def pipe() -> Pipe:
    made = Pipe()
    EncodedPrompts(made, Family(shared_text=(1,)))
    return made


def test_missing_prompts_are_encoded_one_by_one(pipe: Pipe) -> None:
    pipe.encode_prompt(["a", "bb", "a"])
    lengths, shared, nothing, rows = pipe.encode_prompt(["ccc", "a", "bb"])
    assert pipe.asked == [["a"], ["bb"], ["ccc"]]
    assert lengths.tolist() == [[3.0], [1.0], [2.0]]
    assert shared.tolist() == [0.0, 1.0]
    assert nothing is None
    assert [len(row) for row in rows] == [3, 1, 2]


def test_what_a_pipeline_changes_is_not_what_is_kept(pipe: Pipe) -> None:
    for output in pipe.encode_prompt(["a", "bb"])[:2]:
        output.mul_(0)
    pipe.encode_prompt(["a", "bb"])[3][0].mul_(0)
    lengths, shared, _, rows = pipe.encode_prompt(["a", "bb"])
    assert lengths.tolist() == [[1.0], [2.0]]
    assert shared.tolist() == [0.0, 1.0]
    assert rows[0].tolist() == [1.0]


def test_other_arguments_make_other_embeddings(pipe: Pipe) -> None:
    assert pipe.encode_prompt(["a"])[0].item() == 1
    assert pipe.encode_prompt(["a"], scale=3.0)[0].item() == 3
    pipe.encode_prompt(["a"], negative_prompt=["b"])
    pipe.encode_prompt(["a"], negative_prompt="b")
    assert len(pipe.asked) == 4


class Switch:
    """LoRAs, all of text."""

    def __init__(self) -> None:
        self.used: list[Active] = []

    def text_state(self, active: Active) -> Active:
        return active

    def use_in_text(self, active: Active) -> None:
        self.used.append(active)


def test_each_prompt_is_encoded_with_its_images_loras() -> None:
    pipe, switch = Pipe(), Switch()
    encoded: Any = EncodedPrompts(pipe, Family(shared_text=(1,)), switch)  # type: ignore[arg-type]
    ink, oil = (("sha256:1", 1.0),), (("sha256:2", 0.5),)
    encoded.rows = [ink, oil, ink, ()]
    pipe.encode_prompt(["a", "a", "a", "bb"])
    assert pipe.asked == [["a"], ["a"], ["bb"]]
    assert switch.used == [ink, oil, ()]
    with pytest.raises(ValueError, match="several LoRAs"):
        pipe.encode_prompt(["a"] * 4, prompt_embeds=torch.ones(1))
    encoded.rows = [ink] * 4
    pipe.encode_prompt(["a"] * 4, prompt_embeds=torch.ones(1))
    pipe.encode_prompt(["bb"])
    assert switch.used[3:] == [ink, ink]
    assert pipe.asked[3:] == [["a"] * 4, ["bb"]]


def test_embeddings_that_are_given_go_to_the_pipeline(pipe: Pipe) -> None:
    for _ in range(2):
        pipe.encode_prompt(["a"], prompt_embeds=torch.ones(1))
    with pipe.encode_prompt.bypassed():  # type: ignore[attr-defined]
        pipe.encode_prompt(["a"])
    assert len(pipe.asked) == 3
    pipe.encode_prompt(["a"])
    pipe.encode_prompt(["a"])
    assert len(pipe.asked) == 4


def test_an_output_without_a_row_for_each_prompt_is_kept_for_none() -> None:
    made = Pipe()
    EncodedPrompts(made, Family())
    for _ in range(2):
        assert made.encode_prompt(["a", "bb", "ccc"])[0].tolist() == [[1.0], [2.0], [3.0]]
    assert made.asked == [["a"], ["bb"], ["ccc"], ["a", "bb", "ccc"], ["a", "bb", "ccc"]]


def test_rows_of_several_widths_are_left_to_the_pipeline() -> None:
    class Ragged(Pipe):
        def encode_prompt(self, prompt: list[str]) -> Any:
            self.asked.append(prompt)
            return (torch.ones(len(prompt), max(map(len, prompt))),)

    made = Ragged()
    EncodedPrompts(made, Family())
    assert made.encode_prompt(["aa", "bb"])[0].shape == (2, 2)
    assert made.encode_prompt(["a", "bb"])[0].shape == (2, 2)
    assert made.asked == [["aa"], ["bb"], ["a"], ["a", "bb"]]


def test_what_was_used_least_recently_is_forgotten(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoded_prompts, "_MAX_BYTES", 40)  # two prompts of one letter each, with 16 bytes each
    for text in ("a", "b", "a", "c", "a", "b"):
        pipe.encode_prompt([text])
    assert pipe.asked == [["a"], ["b"], ["c"], ["b"]]


def test_a_lora_and_a_model_that_is_not_known_are_told_apart(tmp_path: Path) -> None:
    flux = inspect_model(ModelRef(str(tiny_flux(tmp_path / "flux"))), "cpu")
    assert isinstance(flux, InspectedModel)
    assert encoded_prompts.caches_text(Pipe(), flux.family)
    assert not encoded_prompts.caches_text(Pipe(), replace(flux.family, is_proved=False))
    assert not encoded_prompts.caches_text(object(), flux.family)


class Words:
    """A pipeline without words of textual inversion."""

    @staticmethod
    def maybe_convert_prompt(text: str, _tokenizer: Any) -> str:
        return text


def weights_of(prompt: str, num_tokens: int = 10) -> list[float]:
    return token_weights(Words, TOKENIZER, read_prompt(prompt, A1111), num_tokens)


def test_each_token_of_a_word_has_its_weight_and_start_end_and_padding_have_none() -> None:
    assert weights_of("a (red circle:1.5) on") == [1, 1, 1.5, 1.5, 1, 1, 1, 1, 1, 1]
    assert weights_of("(xyz:1.5)", 6) == [1, 1.5, 1.5, 1.5, 1, 1]  # three tokens
    assert weights_of("(red:2) " * 9, 6) == [1, 2, 2, 2, 2, 1]  # cut where the encoder's text is
    assert weights_of("") == [1.0] * 10


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=12), min_size=1, max_size=5))
def test_a_prompts_tokens_are_those_of_its_parts(parts: list[str]) -> None:
    apart = [TOKENIZER(text, add_special_tokens=False).input_ids for text in parts]
    assert list(chain(*apart)) == TOKENIZER(" ".join(parts), add_special_tokens=False).input_ids


def arguments(pipe: Any, prompts: list[str], negatives: list[str] | None = None, skip: int = 0) -> dict[str, Any]:
    with torch.inference_mode():
        read = [read_prompt(prompt, A1111) for prompt in prompts]
        read_negatives = negatives and [read_prompt(prompt, A1111) for prompt in negatives]
        return text_arguments(pipe, TextCache(pipe, 4), read, read_negatives, skip)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "skip"), [("sd", 0), ("sd", 1), ("sdxl", 0)])
def test_embeddings_are_moved_about_those_of_the_empty_prompt(models: Models, name: str, skip: int) -> None:
    pipe = load_with_pipe(models, name)[1]
    found = arguments(pipe, ["a (red:1.5) [circle]", "a red circle"], ["(blue:0.3) dots", "blue dots"], skip)
    plain = arguments(pipe, ["a red  circle", ""], ["blue  dots", " "], skip)
    for kind, weights in (("prompt_embeds", {2: 1.5, 3: 1 / 1.1}), ("negative_prompt_embeds", {1: 0.3})):
        z, empty = plain[kind]
        wanted = z.clone()
        for place, weight in weights.items():
            wanted[place] = empty[place] + weight * (z - empty)[place]
        assert torch.allclose(found[kind][0], wanted, atol=1e-5)
        assert not torch.allclose(found[kind][0], z, atol=1e-3)
        assert torch.equal(found[kind][1], arguments(pipe, ["a red circle"], ["blue dots"], skip)[kind][0])
    if name == "sdxl":
        assert torch.equal(found["pooled_prompt_embeds"][0], plain["pooled_prompt_embeds"][0])
        assert torch.equal(found["negative_pooled_prompt_embeds"][0], plain["negative_pooled_prompt_embeds"][0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_an_image_is_its_own_prompts_and_weights_of_one_are_none(models: Models, name: str) -> None:
    renderer = load(models, name)
    prompts = ["a (red:1.9) circle", "a red circle", "(a red circle:1)", "[a] <b> ((circle))"]
    wanted = [ImageRequest(str(n), prompt, 7, replace(WEIGHTED, negative_prompt="(blue:2)")) for n, prompt in
              enumerate(prompts)]  # fmt: skip
    together = [image.pixels for image in renderer.render(wanted)]
    backwards = [image.pixels for image in renderer.render(wanted[::-1])][::-1]
    alone = [load(models, name).render([each])[0].pixels for each in wanted[:1]]
    assert all(np.array_equal(one, other) for one, other in zip(together, backwards, strict=True))
    assert np.array_equal(together[0], alone[0])
    assert np.array_equal(together[1], together[2])
    assert len({each.tobytes() for each in together}) == 3
    plain = replace(SAMPLING, negative_prompt="blue")
    unweighted = renderer.render([replace(wanted[1], sampling=plain)])[0].pixels
    assert not np.array_equal(unweighted, together[1])  # by the negative prompt's weight alone
    read = renderer.render([replace(wanted[1], sampling=replace(plain, prompt_syntax=A1111))])[0].pixels
    assert np.array_equal(unweighted, read)


@pytest.mark.slow
def test_a_prompt_is_truncated_where_its_words_are_and_not_by_its_brackets(models: Models) -> None:
    renderer = load(models, "sd")
    fits = "((red)) " * (MAX_TOKENS - 2)
    for prompt, syntax, is_cut in ((fits, A1111, False), (fits, "plain", True), (fits + "(red:2)", A1111, True)):
        [image] = renderer.render([ImageRequest("0", prompt, 1, replace(SAMPLING, prompt_syntax=syntax))])
        assert image.truncated is is_cut


@pytest.mark.slow
def test_diffusers_own_call_is_given_the_words_alone(models: Models) -> None:
    renderer = load_with_pipe(models, "sd")[0]
    one = ImageRequest("0", "a (red:1) circle <lora:x:1>", 1, WEIGHTED)
    other = replace(one, prompt="a red circle", sampling=SAMPLING)
    assert np.array_equal(renderer.by_diffusers(one), renderer.by_diffusers(other))


@pytest.mark.slow
def test_a_word_of_textual_inversion_has_its_weight_in_each_of_its_tokens(models: Models) -> None:
    pipe = load_with_pipe(models, "sd")[1]
    words = {"<cat>": torch.randn(3, pipe.text_encoder.config.hidden_size)}
    pipe.load_textual_inversion(words, token="<cat>", text_encoder=pipe.text_encoder, tokenizer=pipe.tokenizer)
    read = read_prompt("a (<cat>:1.5) red", A1111)
    assert token_weights(pipe, pipe.tokenizer, read, 8) == [1, 1, 1.5, 1.5, 1.5, 1, 1, 1]
