"""Requests of OpenAI's Batch API: what of them is a setting, what is carried, what is at fault."""

import json
from pathlib import Path

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.formats import open_as
from darkroom.prompts.openai_batch import IMAGES_URL
from darkroom.prompts.reading import Reading
from tests.prompts.reading import extras, rows, write

BATCH = Reading("openai_batch")


def request(custom_id: str, **body: object) -> str:
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": IMAGES_URL, "body": body})


def test_a_request_is_a_row(tmp_path: Path) -> None:
    first = request("a-1", model="gpt-image-1", prompt="a red circle", n=2, size="1024x1536", quality="high")
    dataset = open_as(write(tmp_path / "b.jsonl", f"{first}\n\n{request('a-2', prompt='b', size='auto')}\n"), BATCH)
    one, two = rows(dataset)
    assert (one.prompt_id, one.prompt) == ("a-1", "a red circle")
    assert dict(one.overrides) == {"num_images_per_prompt": 2, "width": 1024, "height": 1536}
    assert (two.prompt_id, two.overrides) == ("a-2", ())
    assert extras(dataset)[0] == {"request_model": "gpt-image-1", "request_quality": "high"}
    assert "not acted on" in dataset.scan(1).warnings[0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        (json.dumps({"url": "/v1/chat/completions", "body": {}}), "no request of /v1/images/generations"),
        (json.dumps({"custom_id": "a", "url": IMAGES_URL}), "no request of"),
        (request("a", prompt="b", size="big"), "not a size such as 1024x1536"),
        (request("a", prompt="b", n=0), "out of range"),
        (request("a", prompt=3), "not text"),
        (request("a", prompt="b") + "\n" + request("a", prompt="c"), "duplicate"),
    ],
)
def test_a_request_that_is_no_row_is_named(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(DarkroomError, match=said):
        open_as(write(tmp_path / "b.jsonl", f"{request('z', prompt='z')}\n{line}\n"), BATCH).scan(1)
