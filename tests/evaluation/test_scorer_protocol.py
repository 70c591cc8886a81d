import re

import pytest

from darkroom.evaluation.scorer_process import BrokenScorer
from darkroom.evaluation.scorer_protocol import Hello, read_answers, read_hello
from darkroom.runs.features import ExtractorInfo, Score

HELLO = {"darkroom_scorer": 1, "name": "ocr", "version": "2", "scores": {"exact": "higher", "cer": "lower"}}
SCORES = (Score("exact", True), Score("cer", False))
INFO = ExtractorInfo("mine", "ocr 2", "none", 2, is_scorer=True, scores=SCORES)


def test_a_command_says_what_it_is() -> None:
    assert read_hello(HELLO, "extractor mine") == Hello("ocr", "2", SCORES, ())
    assert read_hello({**HELLO, "columns": ["text"]}, "extractor mine").columns == ("text",)
    assert read_hello({**HELLO, "reads_prompt": True}, "extractor mine").reads_prompt


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"darkroom_scorer": 2}, 'has no "darkroom_scorer": 1; see infra/docs/scorers.md'),
        ({"name": None}, "has name=None; give a text"),
        ({"version": 2}, "has version=2; give a text"),
        ({"scores": ["cer"]}, "has scores=['cer']; give names with what is better, such as"),
        ({"scores": {}}, "has scores={}; give names"),
        ({"scores": {"cer": "less"}}, 'has scores.cer=\'less\'; give "higher" or "lower"'),
        ({"scores": {"cer": ["lower"]}}, 'has scores.cer=[\'lower\']; give "higher" or "lower"'),
        ({"scores": {"my cer": "lower"}}, "has a score 'my cer', which no figure can be called by"),
        ({"columns": "text"}, "has columns='text'; give a list of names"),
        ({"colums": ["text"]}, "has 'colums'; there are name, version, scores, columns, reads_prompt"),
        ({"reads_prompt": 1}, "has reads_prompt=1; give true or false"),
    ],
)
def test_what_is_no_description_is_refused(other: dict, words: str) -> None:
    with pytest.raises(BrokenScorer, match=re.escape(f"extractor mine: what it said first {words}")) as caught:
        read_hello({**HELLO, **other}, "extractor mine")
    assert "\n" not in str(caught.value)


def test_an_answer_is_numbers_nulls_or_a_reason() -> None:
    entries = [{"exact": True, "cer": 0.25}, {"exact": None, "cer": 1}, None, {"error": "too dark"}]
    assert read_answers({"scores": entries}, INFO, 4) == [
        {"exact": 1.0, "cer": 0.25},
        {"exact": None, "cer": 1.0},
        {"exact": None, "cer": None},
        "too dark",
    ]
    (reason,) = read_answers({"scores": [{"exact": 1, "cer": float("nan")}]}, INFO, 1)
    assert reason == "its score cer is nan; a scorer answers null where a score does not apply"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({}, 'has nothing; give {"scores": [...]}, an entry an image'),
        ({"score": []}, 'has score; give {"scores": [...]}'),
        ({"scores": [None]}, "has 1 entries for 2 images; give one for each, in their order"),
        ({"scores": [None, 0.5]}, "entry 1, is 0.5; give {exact, cer} with numbers or null, or an error"),
        ({"scores": [{"exact": 1}, None]}, "entry 0, has exact; give exact, cer, null where one does not apply"),
        ({"scores": [None, {"exact": 1, "cer": "0"}]}, "entry 1, has cer='0'; give a number, or null"),
    ],
)
def test_what_is_no_answer_is_refused(answer: dict, words: str) -> None:
    with pytest.raises(BrokenScorer, match=re.escape(words)) as caught:
        read_answers(answer, INFO, 2)
    assert str(caught.value).startswith("extractor mine: its answer")


@pytest.mark.parametrize("number", [1e300, 10**400, float("-inf")])
def test_a_score_that_cannot_be_stored_has_a_reason(number: float) -> None:
    (reason,) = read_answers({"scores": [{"exact": 1, "cer": number}]}, INFO, 1)
    assert reason.startswith(f"its score cer is {str(number)[:20]}")
