"""How prompts with weights and LoRAs are read, and which are refused."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.domain.adapters import Part, tagged_loras
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import Cell, ModelIdentity
from darkroom.domain.prompt_syntax import A1111, PLAIN, ReadPrompt, read_negative, read_prompt, without_tags
from darkroom.domain.records import PromptRow, samples
from darkroom.domain.settings import Sampling
from darkroom.runs.layouts import parameters_line

INK, OIL = Part("loras", "ink", "sha256:1", 0.8), Part("loras", "oil", "sha256:2", 1.0)
MODEL = ModelIdentity("some/model", "sha256:abcdef", "float32", "StableDiffusionPipeline", parts=(INK, OIL))
SAMPLING = Sampling("ddim", 5.0, 20, 64, 64, prompt_syntax=A1111)


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("a cat", [("a cat", 1)]),
        ("an (important) word", [("an ", 1), ("important", 1.1), (" word", 1)]),
        ("a (red:1.3), [small] cat", [("a ", 1), ("red", 1.3), (", ", 1), ("small", 1 / 1.1), (" cat", 1)]),
        ("((a)(b))", [("ab", 1.1 * 1.1)]),
        ("(a (b:0.5) c:2)", [("a ", 2), ("b", 1), (" c", 2)]),
        ("(a : 1.2 )", [("a ", 1.2)]),
        ("(a:-0.5)", [("a", -0.5)]),
        ("(open", [("open", 1.1)]),
        ("shut) :] at 12:30", [("shut) :] at 12:30", 1)]),
        (r"\(a\) \[b\] \\ \c", [(r"(a) [b] \ \c", 1)]),
        (r"(a \(b\):1.5)", [("a (b)", 1.5)]),
        ("()", [("", 1)]),
        ("", [("", 1)]),
        ("candle and black-or-white | BAND", [("candle and black-or-white | BAND", 1)]),
    ],
)
def test_brackets_weight_what_stands_in_them(prompt: str, parts: list[tuple[str, float]]) -> None:
    found = read_prompt(prompt, A1111)
    assert [text for text, _ in found.parts] == [text for text, _ in parts]
    assert [weight for _, weight in found.parts] == pytest.approx([weight for _, weight in parts])
    assert read_prompt(prompt) == read_prompt(prompt, PLAIN) == ReadPrompt(((prompt, 1.0),))
    assert without_tags(prompt, A1111) == prompt.strip()


def test_the_text_is_that_of_the_parts_and_a_bracket_parts_words() -> None:
    assert read_prompt("red(ball:1.2)", A1111).text == "red ball"
    assert read_prompt("red(ball:1)", A1111) == ReadPrompt((("redball", 1.0),))


def test_loras_are_no_text() -> None:
    found = read_prompt("<lora:ink:0.5>a (cat<lora: oil >:1.2)<lora:ink:-1>", A1111)
    assert found == ReadPrompt((("a ", 1.0), ("cat", 1.2)), (("ink", 0.5), ("oil", None), ("ink", -1.0)))
    assert without_tags("<lora:ink:0.5>a (cat:1.2)", A1111) == "a (cat:1.2)"
    assert read_prompt("<lora:ink:1>", A1111).text == ""
    assert read_prompt("a <cat> x<y:", A1111).text == "a <cat> x<y:"


@pytest.mark.parametrize(
    ("prompt", "error"),
    [
        ("[a:b:0.5]", r"changes the prompt between steps, which is not read; write one prompt"),
        ("[a|b]", r"changes the prompt between steps"),
        ("a cat AND a dog", "AND parts a prompt, which is not read; write it in small letters"),
        ("a BREAK b", "BREAK parts a prompt"),
        ("(at 12:30)", r"weight 30 is not from -10 to 10; mend it, or write \\\( for text"),
        ("(a:1.2.3)", "weight '1.2.3' is no number"),
        ("<lora:ink:x>", "<lora:ink:x>: weight 'x' is no number"),
        ("<lora:ink:nan>", "weight nan is not from -10 to 10"),
        ("((a:10):10)", "brackets in brackets give 'a' the weight 100, which is not from -10 to 10"),
        ("(" * 30 + "a", "give 'a' the weight 17.45"),
        ("(a" * 8000, "it has more than 500 brackets"),
        ("[a:b:1e-1]", "changes the prompt between steps"),
        ("<lora:ink:1:1>", "a LoRA has a name and one weight"),
        ("<lora::1>", "a LoRA has a name and one weight"),
        ("<hypernet:x:1>", "of such tags <lora:name:weight> alone is read"),
    ],
)
def test_what_would_be_misread_is_refused_in_a_line(prompt: str, error: str) -> None:
    with pytest.raises(DarkroomError, match=error) as caught:
        read_prompt(prompt, A1111)
    assert "\n" not in str(caught.value)
    assert read_prompt(prompt).text == prompt


def test_a_negative_prompt_names_no_lora() -> None:
    assert read_negative("(bad:2)", A1111).parts == (("bad", 2.0),)
    with pytest.raises(DarkroomError, match="<lora:ink> stands in the negative prompt"):
        read_negative("<lora:ink:1>", A1111)


@given(st.text(alphabet="ab()[]\\:.12 <>|"))
def test_any_text_is_read_or_refused(prompt: str) -> None:
    try:
        found = read_prompt(prompt, A1111)
    except DarkroomError:
        return
    assert found.parts
    assert all(one[1] != other[1] for one, other in zip(found.parts, found.parts[1:], strict=False))


def request(prompt: str, sampling: Sampling = SAMPLING, **given: object):
    row = PromptRow(0, "id", prompt, tuple(given.items()))
    return next(samples(row, Cell(MODEL, sampling), 0, 1)).request


def test_a_prompts_loras_win_over_those_of_the_settings_and_are_recorded() -> None:
    both = request("a <lora:oil:0.5><lora:ink>")
    assert both.adapters == (("sha256:1", 0.8), ("sha256:2", 0.5))  # in the model's order: one batch for equal ones
    assert both.sampling.lora == "ink+oil"
    assert both.prompt == "a <lora:oil:0.5><lora:ink>"
    one = request("a <lora:oil:0.5>", replace(SAMPLING, lora="ink", lora_weight=2.0))
    assert (one.adapters, one.sampling.lora) == ((("sha256:2", 1.0),), "oil")
    none = request("a <lora:oil:0>")
    assert (none.adapters, none.sampling.lora) == ((), "none")
    assert request("a cat").adapters == (("sha256:1", 0.8), ("sha256:2", 1.0))
    assert request("a cat", replace(SAMPLING, lora="none")).adapters == ()
    plain = request("a <lora:oil:0.5>", prompt_syntax=PLAIN)
    assert plain.adapters == (("sha256:1", 0.8), ("sha256:2", 1.0))


def test_a_lora_that_is_named_twice_has_both_weights() -> None:
    assert tagged_loras([INK, OIL], [("ink", 0.5), ("ink", None)], 1.0) == (("sha256:1", 1.3),)
    assert tagged_loras([INK, OIL], [("ink", 0.5), ("ink", -0.5)], 1.0) == ()


def test_image_tools_read_each_lora_once_at_the_weight_that_was_used() -> None:
    line = parameters_line(request("a (cat:1.2) <lora:oil:0.5>", replace(SAMPLING, lora_weight=0.5)), MODEL)
    assert line.startswith("a (cat:1.2) <lora:oil:0.25>\n")


def test_an_older_cell_keeps_its_name() -> None:
    plain = replace(SAMPLING, prompt_syntax=PLAIN)
    assert "prompt_syntax" not in plain.effective
    assert Cell(MODEL, plain).cell_id != Cell(MODEL, SAMPLING).cell_id
