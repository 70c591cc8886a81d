"""What prompts are like as a whole: counts on prompts whose repeats, lengths, languages and words are known."""

import pyarrow as pa
import pytest

from darkroom.prompts import preflight as module
from darkroom.prompts.dataset import PromptDataset
from darkroom.prompts.opening import open_prompts, template_prompts
from darkroom.prompts.preflight import Encoder, looked_at, preflight

LONG = "A photograph of the inside of a subway train, with {} sitting on the seats and one reading a newspaper."
PROMPTS = [
    "a red circle",
    "A  red CIRCLE",
    "a blue square",
    LONG.format("frogs"),
    LONG.format("lobsters"),
    "Ein großer roter Kreis liegt neben dem kleinen Hund auf der Wiese",
    "赤い円と青い四角が並んでいる写真",
]
WORDS = Encoder("words", lambda texts: [len(text.split()) for text in texts], 5)


def found(dataset: PromptDataset, words: list[str] | None = None) -> dict:
    return preflight(dataset, [WORDS], words or [], lambda row: row.prompt)


def test_each_question_is_answered() -> None:
    kinds = [*["a"] * 4, None, "b", ""]
    table = pa.table({"prompt": PROMPTS, "kind": kinds, "seed": [1] * 7, "name": [f"n{i}" for i in range(7)]})
    said = found(open_prompts(table, name="table"), ["Red circle", "subway", "cow", "circ"])
    assert (said["num_rows"], said["num_looked_at"], said["num_invalid"]) == (7, 7, 0)
    [lengths] = said["lengths"]
    assert lengths["num_truncated"] == 3
    assert sum(count for *_, count in lengths["histogram"]) == 7
    assert lengths["longest"][0][0] == 20
    assert said["repeats"] == {"num_rows": 1, "examples": [[2, "a red circle"]]}
    assert said["near_repeats"]["examples"] == [[LONG.format("frogs"), LONG.format("lobsters")]]
    balance = {each["column"]: each for each in said["balance"]}
    assert balance["kind"]["values"][0] == ["a", 4]
    assert balance["kind"]["num_null"] == 1
    assert balance["seed"]["values"] == [["1", 7]]
    languages = {name: count for name, count, _ in said["languages"]["languages"]}
    assert languages["de"] == 1
    assert languages["ja"] == 1
    assert said["words"]["num_rows"] == 4
    assert {word: count for word, count, _ in said["words"]["found"]} == {"red circle": 2, "subway": 2}


def test_encoders_that_count_alike_are_told_together() -> None:
    others = [Encoder("same", WORDS.count, 5), Encoder("longer", WORDS.count, 50)]
    said = preflight(open_prompts(PROMPTS, name="list"), [WORDS, *others], [], lambda row: row.prompt)
    assert [(each["encoder"], each["num_truncated"]) for each in said["lengths"]] == [("words, same", 3), ("longer", 0)]


def test_words_that_lie_in_longer_ones_of_the_list_are_counted_too() -> None:
    prompts = ["a red circle", "red", "C++ is a red circle's edge", "reddish"]
    said = found(open_prompts(prompts, name="list"), ["red circle", "red", "circle", "circle's edge", "c++", "c"])
    counts = {word: count for word, count, _ in said["words"]["found"]}
    assert counts == {"red": 3, "red circle": 2, "circle": 2, "circle's edge": 1, "c++": 1, "c": 1}
    assert said["words"]["num_rows"] == 3


def test_of_many_rows_some_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 100)
    numbers = {"n": {"from": 1, "to": 300}}
    plain = template_prompts("photo {n}", numbers, "product", None, 0)
    rows = [row.row for row, _ in looked_at(plain)]
    assert len(set(rows)) == 100
    assert max(rows) < 300
    numbers = {"n": {"from": 1, "to": 10**9}}
    some = found(template_prompts("photo {n}", numbers, "product", None, 0, True))
    assert (some["num_rows"], some["num_looked_at"]) == (10**9, 100)


def test_rows_that_are_invalid_are_counted_and_not_looked_at() -> None:
    table = pa.table({"prompt": ["a cat", "", None]})
    said = found(open_prompts(table, "record", name="table"))
    assert (said["num_rows"], said["num_looked_at"], said["num_invalid"]) == (3, 1, 2)
    assert found(open_prompts(pa.table({"prompt": [""]}), "record", name="table"))["num_looked_at"] == 0


def test_without_the_packages_two_questions_stay_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    said = found(open_prompts(PROMPTS, name="list"))
    assert said["near_repeats"] is None
    assert said["languages"] is None
