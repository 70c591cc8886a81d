"""Requests of OpenAI's Batch API for images, one JSON object a line, as rows.

    {"custom_id": "a-1", "method": "POST", "url": "/v1/images/generations",
     "body": {"model": "gpt-image-1", "prompt": "a red circle", "n": 2, "size": "1024x1536"}}

`custom_id` is the prompt's id, `n` its number of images and `size` its width and height. Everything else of a body, its
model among it, is carried as a column `request_...`, and not acted on.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from darkroom.domain.identity import digest
from darkroom.prompts.columns import ColumnMapping
from darkroom.prompts.lines import found_block, numbered_blocks, parsed_object, without_blanks
from darkroom.prompts.sources import Fault, SourceBlock, shown
from darkroom.storage.input_files import InputFile

IMAGES_URL = "/v1/images/generations"
_SIZE = re.compile(r"(\d+)x(\d+)")
_READ = {"prompt": "prompt", "n": "num_images_per_prompt"}
_AUTO = (None, "auto")


@dataclass(frozen=True)
class OpenAIBatch:
    """Rows of a file of such requests; blank lines are skipped."""

    file: InputFile
    mapping: ColumnMapping = field(default_factory=ColumnMapping)

    @property
    def name(self) -> str:
        return self.file.name

    def schema(self) -> None:
        """Known once every row is read."""

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[SourceBlock]:
        for first, numbers, lines in numbered_blocks(self.file, start, block_rows, without_blanks):
            yield found_block(first, [_row(line) for line in lines], types, self.mapping, numbers)

    def check_unchanged(self) -> None:
        self.file.check_unchanged()

    def content_digest(self) -> str:
        return digest("openai batch", self.file.text_digest(""), length=64)


def _row(line: bytes) -> Mapping[str, object] | Fault:
    request = parsed_object(line)
    if isinstance(request, Fault):
        return request
    body, url = request.get("body"), request.get("url", IMAGES_URL)
    if url != IMAGES_URL or not isinstance(body, dict):
        return Fault("", f"no request of {IMAGES_URL} with a body", shown(url if url != IMAGES_URL else body))
    row: dict[str, object] = {"prompt_id": request.get("custom_id")}
    row |= {_READ.get(name, f"request_{name}"): value for name, value in body.items() if name != "size"}
    size = body.get("size")
    if size not in _AUTO:
        found = _SIZE.fullmatch(size) if isinstance(size, str) else None
        if not found:
            return Fault("size", "not a size such as 1024x1536", shown(size))
        row |= {"width": int(found[1]), "height": int(found[2])}
    return row
