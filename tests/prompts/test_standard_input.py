"""Standard input as prompts: what it is taken for, and what it may not be."""

import io
import sys
from collections.abc import Callable, Iterator

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.opening import open_prompts
from darkroom.prompts.standard_input import kept_input
from tests.prompts.reading import prompts


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    def put(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        kept_input.cache_clear()

    yield put
    kept_input.cache_clear()


@pytest.mark.parametrize(
    ("text", "ending", "found"),
    [
        ("a cat\n\na dog\n", ".txt", ["a cat", "", "a dog"]),
        ('\ufeff\n {"prompt": "a cat"}\n', ".jsonl", ["a cat"]),
        ("a {cat}", ".txt", ["a {cat}"]),
    ],
)
def test_it_is_lines_or_objects_and_is_read_once(
    pipe: Callable[[str], None], text: str, ending: str, found: list[str]
) -> None:
    pipe(text)
    file = kept_input()
    assert file.suffix == ending
    assert kept_input() == file
    assert prompts(open_prompts(file, "record")) == found


@pytest.mark.parametrize("text", ["", " \n\n"])
def test_nothing_is_refused(pipe: Callable[[str], None], text: str) -> None:
    pipe(text)
    with pytest.raises(DarkroomError, match="standard input is empty"):
        kept_input()


def test_a_process_without_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    kept_input.cache_clear()
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(DarkroomError, match="pipe prompts into the command"):
        kept_input()
