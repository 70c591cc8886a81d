"""Weighted words: embeddings against a computation by hand, and images that are their own prompt's alone."""

from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.demo.encoders import MAX_TOKENS, make_tokenizer
from darkroom.domain.prompt_syntax import A1111, read_prompt
from darkroom.domain.records import ImageRequest
from darkroom.rendering.conditioning import TextCache, text_arguments
from darkroom.rendering.prompt_weights import token_weights
from tests.rendering.helpers import SAMPLING, Models, load, load_with_pipe

WEIGHTED = replace(SAMPLING, prompt_syntax=A1111)
TOKENIZER = make_tokenizer()


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
