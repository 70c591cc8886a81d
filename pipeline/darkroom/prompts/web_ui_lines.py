"""Lines of AUTOMATIC1111's script "Prompts from file or textbox": a prompt, or flags, and choices in the prompts.

    a red circle
    --prompt "a {red|blue} __animals__" --negative_prompt "blurry" --steps 20 --cfg_scale 7 --n_iter 4
    # a comment

Flags are split as a shell splits words, and every one is a setting here, or refused by its name, as one that the user
does not ask to ignore. A line with choices is drawn as often as it asks for images (`n_iter` times `batch_size`), each
draw a row of its own; without, its row has so many images.
"""

import math
import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest
from darkroom.domain.setting_values import unknown
from darkroom.domain.settings import NUM_SEEDS
from darkroom.prompts.columns import ColumnMapping
from darkroom.prompts.lines import found_block, numbered_blocks
from darkroom.prompts.marks import with_syntax
from darkroom.prompts.sampler_names import scheduler_name
from darkroom.prompts.sources import Fault, SourceBlock, shown
from darkroom.prompts.variants import Draws, Node, drawn, parsed
from darkroom.prompts.wildcards import Wildcards
from darkroom.storage.input_files import InputFile

_FLAG = re.compile(r"(^|\s)--([a-z_]+)(?=\s)")
_BLANKS = " \t\r\n"
_QUOTED = re.compile(r"""\"[^\"]*\"|'[^']*'""")
_WORD = re.compile(rf"""(?:[^{_BLANKS}\"']|{_QUOTED.pattern})+""")
_SETTINGS = {
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "seed": "seed",
    "steps": "num_inference_steps",
    "cfg_scale": "guidance_scale",
    "width": "width",
    "height": "height",
}
_TEXTS = ("prompt", "negative_prompt")  # which take all words up to the next flag
_COUNTS = ("n_iter", "batch_size")
_SAMPLER = ("sampler_name", "scheduler")
# Of no picture: where files go, and what a page shows.
_OF_FILES = ("outpath_samples", "outpath_grids", "prompt_for_display", "do_not_save_samples", "do_not_save_grid")
# What changes pictures and is no setting here, with the values at which it does nothing.
_UNREAD: Mapping[str, Collection[str]] = {
    "sd_model": (),
    "styles": ("",),
    "subseed": ("-1",),
    "subseed_strength": ("0", "0.0"),
    "seed_resize_from_h": ("-1", "0"),
    "seed_resize_from_w": ("-1", "0"),
    "sampler_index": (),
    "restore_faces": ("false",),
    "tiling": ("false",),
}
FLAGS = (*_SETTINGS, *_COUNTS, *_SAMPLER, *_OF_FILES, *_UNREAD)

Row = Mapping[str, object]


@dataclass(frozen=True)
class WebUiLines:
    """Rows of a file of such lines. `ignored`: flags that are carried as columns, and not acted on."""

    file: InputFile
    mapping: ColumnMapping = field(default_factory=ColumnMapping)
    wildcards: Wildcards = field(default_factory=lambda: Wildcards(None))
    num_draws: int = 1  # of a line with choices that does not say how many
    seed: int = 0  # of the draws
    ignored: Collection[str] = ()

    @property
    def name(self) -> str:
        return self.file.name

    def schema(self) -> None:
        """Known once every row is read."""

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[SourceBlock]:
        for first, numbers, found in numbered_blocks(self.file, start, block_rows, self._rows):
            yield found_block(first, found, types, self.mapping, numbers)

    def check_unchanged(self) -> None:
        self.file.check_unchanged()

    def content_digest(self) -> str:
        drawing = [self.wildcards.content_digest, self.num_draws, self.seed, sorted(self.ignored)]
        return digest("web ui lines", self.file.text_digest(""), *drawing, length=64)

    def _rows(self, numbered: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, Row | Fault]]:
        """Rows with the numbers of their lines; a line of several rows comes as these."""
        for number, line in numbered:
            try:
                text = line.decode().strip()
            except UnicodeDecodeError:
                yield number, Fault("prompt", "not valid UTF-8", shown(line))
                continue
            if not text or text.startswith("#"):
                continue
            try:
                yield from ((number, row) for row in self._rows_of(number, text))
            except DarkroomError as error:
                yield number, Fault("", "not read", str(error))

    def _rows_of(self, number: int, text: str) -> Iterator[Row]:
        row = _row(_given(text), self.ignored)
        nodes = {name: self._read(str(row[name])) for name in _TEXTS if name in row}
        given = [_whole(name, row.pop(name), 1) for name in _COUNTS if name in row and name not in self.ignored]
        count = math.prod(given) if given else None
        if all(isinstance(node, str) for node in nodes.values()):
            yield with_syntax({**row, **nodes, **({"num_images_per_prompt": count} if count else {})})
            return
        seed = _whole("seed", row["seed"], 0) if "seed" in row else None
        for index in range(self.num_draws if count is None else count):
            draws = Draws(self.seed, number, index)
            texts = {name: drawn(node, draws) for name, node in nodes.items()}
            yield with_syntax({**row, **texts, **({} if seed is None else {"seed": (seed + index) % NUM_SEEDS})})

    def _read(self, text: str) -> Node:
        if text not in self._parsed:
            if len(self._parsed) > 10_000:
                self._parsed.clear()
            self._parsed[text] = parsed(text, self.wildcards.lines)
        return self._parsed[text]

    @cached_property
    def _parsed(self) -> dict[str, Node]:
        return {}


def _given(text: str) -> dict[str, str]:
    """Flags of a line with their texts. Raises DarkroomError for a line that is read by neither of its two forms."""
    if not text.startswith("--"):
        for found in _FLAG.finditer(text):
            if found[2] in FLAGS:
                raise DarkroomError(f'--{found[2]} follows a prompt without a flag; write --prompt "..." before it')
        return {"prompt": text}
    try:
        words = _words(text)
    except ValueError as error:
        raise DarkroomError(
            f"{error} in {shown(text)}; write quotes in pairs, and an apostrophe in double ones"
        ) from error
    given: dict[str, str] = {}
    while words:
        flag = words.pop(0)
        if not flag.startswith("--"):
            raise DarkroomError(f"{shown(flag)} follows the value of a flag; write a value of several words in quotes")
        name = flag[2:]
        if name not in FLAGS:
            raise DarkroomError(unknown(f"--{name}", tuple(f"--{each}" for each in FLAGS), "flag"))
        given[name] = _value(name, words)
    return given


def _words(text: str) -> list[str]:
    """As a shell splits them; `shlex`, which is many times slower, reads what has backslashes or lone quotes."""
    if "\\" in text or _WORD.sub("", text).strip(_BLANKS):
        return shlex.split(text)
    return [_QUOTED.sub(lambda found: found[0][1:-1], word) for word in _WORD.findall(text)]


def _value(name: str, words: list[str]) -> str:
    """Taken from the words that follow a flag: one, and of a prompt all up to the next flag."""
    if not words or (words[0].startswith("--") and name not in _TEXTS):
        raise DarkroomError(f"--{name} has no value; give one, or leave the flag out")
    found = [words.pop(0)]
    while name in _TEXTS and words and not words[0].startswith("--"):
        found.append(words.pop(0))
    return " ".join(found)


def _row(given: Mapping[str, str], ignored: Collection[str]) -> dict[str, object]:
    """Settings of a line's flags, those that are of files or ignored as they are; `_COUNTS` stay to be read."""
    row: dict[str, object] = {}
    for name, value in given.items():
        if name in ignored or name in _OF_FILES or name in _COUNTS:
            row[name] = value
        elif name in _UNREAD:
            if value.lower() not in _UNREAD[name] and not _is_of_nothing(name, given):
                raise DarkroomError(
                    f"--{name} {shown(value)} is no setting here; take it out, or carry it unread by "
                    f"prompts.ignored=[{name}]"
                )
        elif name in _SETTINGS and (name, value) != ("seed", "-1"):  # any seed: the run's own
            row[_SETTINGS[name]] = value
    if "sampler_name" in given and "sampler_name" not in ignored:
        row["scheduler"] = scheduler_name(given["sampler_name"], given.get("scheduler", ""))
    elif "scheduler" in given and "scheduler" not in ignored:
        raise DarkroomError("--scheduler says how noise levels are spaced, of --sampler_name; give both, or neither")
    if "prompt" not in row:
        raise DarkroomError('it has no --prompt; give one: --prompt "..."')
    return row


def _is_of_nothing(name: str, given: Mapping[str, str]) -> bool:
    """A second seed of no strength."""
    return name == "subseed" and given.get("subseed_strength", "0") in _UNREAD["subseed_strength"]


def _whole(name: str, text: object, least: int) -> int:
    try:
        number = int(str(text))
    except ValueError:
        number = least - 1
    if number < least:
        raise DarkroomError(f"--{name} {shown(text)}: needed a whole number from {least} on")
    return number
