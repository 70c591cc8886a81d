"""What a model is asked about a prompt, and what its answer becomes."""

import pytest

from darkroom.rewriting.questions import EMPTY, FAILED, OK, REFUSED, TOO_LONG, Answer, Wording, questions, read_answer

MODEL = {"kind": "openai", "model": "tiny"}
ADVICE = {"light": ["dawn", "dusk"], "style": ["oil", "ink", "photo"]}


def test_questions_follow_from_prompt_seed_and_number_alone() -> None:
    three = questions("a cat", Wording(advice=ADVICE, num_rewrites=3), MODEL)
    assert questions("a cat", Wording(advice=ADVICE), MODEL) == three[:1]
    assert len({each.seed for each in three}) == len({each.rewrite_id for each in three}) == 3
    assert all(0 <= each.seed < 2**31 for each in three)
    others = [
        *questions("a dog", Wording(advice=ADVICE), MODEL),
        *questions("a cat", Wording(advice=ADVICE, seed=1), MODEL),
        *questions("a cat", Wording("Shorter.", ADVICE), MODEL),
        *questions("a cat", Wording(advice=ADVICE), {**MODEL, "model": "other"}),
    ]
    assert len({each.rewrite_id for each in [three[0], *others]}) == 5


def test_hints_are_one_of_each_list_and_every_one_is_drawn() -> None:
    asked = questions("a cat", Wording(advice=ADVICE, num_rewrites=60), MODEL)
    assert {each.hints for each in asked} == {
        f"light: {a}; style: {b}" for a in ADVICE["light"] for b in ADVICE["style"]
    }
    assert asked[0].text == f"a cat\n\nHints, where they fit: {asked[0].hints}."
    assert questions("a cat", Wording(), MODEL)[0].text == "a cat"


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ('  "A cat\n at dawn."  ', "A cat at dawn."),
        ("<think>A cat? Yes.</think>\n\nA cat at dawn.", "A cat at dawn."),
        ("**Rewritten prompt:** A cat at dawn.", "A cat at dawn."),
        ("Here is the new prompt:\n\nA cat at dawn.", "A cat at dawn."),
        ('"Stop" signs and "Go" signs', '"Stop" signs and "Go" signs'),
        ("A sign that says: open", "A sign that says: open"),
        ("A prompter's box at dawn: red velvet", "A prompter's box at dawn: red velvet"),
        ("I can see a cat at dawn", "I can see a cat at dawn"),
        ("Ein Kätzchen 🐈 im Schnee", "Ein Kätzchen 🐈 im Schnee"),
    ],
)
def test_the_prompt_is_taken_out_of_what_is_said(said: str, text: str) -> None:
    assert read_answer(said, False, 9) == read_answer(text, False, 9)
    assert (read_answer(said, False, 9).status, read_answer(said, False, 9).text) == (OK, text)


@pytest.mark.parametrize(
    ("said", "is_cut", "status", "error"),
    [
        ("I'm sorry, but I can't help.", False, REFUSED, "the model answers: I'm sorry, but I can't help."),
        ("I cannot write this.", False, REFUSED, "the model answers"),
        (' "" ', False, EMPTY, "the answer is empty"),
        ("<think>on and on", False, EMPTY, "the answer is empty"),
        ("A cat and", True, TOO_LONG, "had not ended after max_new_tokens=9"),
        ("A cat " * 200, False, TOO_LONG, "the answer has 1199 characters, more than max_new_tokens=9 have"),
    ],
)
def test_no_other_answer_is_used(said: str, is_cut: bool, status: str, error: str) -> None:
    found = read_answer(said, is_cut, 9)
    assert (found.status, found.text) == (status, "")
    assert error in (found.error or "")


def test_half_a_character_is_none() -> None:
    assert read_answer("A cat \ud83d", False, 9) == Answer(OK, "A cat ?")
    assert Answer(FAILED, error="no \ud83d").error == "no ?"
