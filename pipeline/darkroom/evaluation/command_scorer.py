"""Scorers in a process and an environment of their own: `{name: geneval, command: /opt/geneval/bin/python scorer.py}`.

The command may be of any language and any version; it needs nothing of Darkroom. It writes one line of JSON that says
what it is, then reads a line for each batch and writes a line of scores for each (infra/docs/scorers.md is the
protocol). A job starts it once to hear what it is and ends it again, before anything else is begun; each worker starts
its own.
"""

import base64
import hashlib
import io
import json
import os
import platform
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from darkroom.domain.errors import DarkroomError, EndsRun, WrongModel, credentials_in, has_credentials
from darkroom.domain.process import from_anywhere
from darkroom.evaluation.extractor import ExtractorSpec, Scores
from darkroom.evaluation.plugins import source_lines
from darkroom.evaluation.scorer_process import BrokenScorer, LineProcess, ScorerDied
from darkroom.evaluation.scorer_protocol import Hello, read_answers, read_hello
from darkroom.runs.features import ExtractorInfo

_NUM_ENCODERS = 4  # threads; encoding releases the interpreter's lock
_MOST_CHARS = 64 << 20  # of a batch's pictures in base64: 15 of a megapixel
_MOST_DEATHS = 5  # in a row, without a batch that was answered between


def placed(command: str) -> str:
    """The same command such that it names its files from every folder."""
    first, *others = split(command)
    first = from_anywhere(first) if "/" in first else first
    return shlex.join([first, *map(_placed, others)])


def split(command: str) -> list[str]:
    """Raises DarkroomError for a command without words, whose quotes do not close, or with a secret."""
    if has_credentials(command):
        raise credentials_in("extractors: command")
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise DarkroomError(f"extractors: command={command}: {error}; close its quotes") from None
    if not words:
        raise DarkroomError("extractors: command is empty; give a program and its arguments")
    return words


def inspect_command(spec: ExtractorSpec) -> ExtractorInfo:
    """What the command says that it is, by starting it once. Raises DarkroomError in one line where it says nothing."""
    process = _launched(spec)
    try:
        return _heard(process, spec)
    finally:
        process.close()


class CommandScorer:
    """A command as a RowScorer, whose `info` is known before it is started: by `start`, or with the first pictures."""

    def __init__(self, spec: ExtractorSpec) -> None:
        self.info = spec.pin.info if spec.pin else inspect_command(spec)
        self._spec = spec
        self._process: LineProcess | None = None
        self._num_deaths = 0
        self._is_closed = False

    def row_scores(self, pictures: Sequence[np.ndarray], rows: Sequence[Mapping[str, Any]]) -> list[Scores | str]:
        """Raises ScorerDied for pictures on which it died, and BrokenScorer where more of that is in vain."""
        found: list[Scores | str] = []
        with ThreadPoolExecutor(_NUM_ENCODERS) as pool:
            encoded = pool.map(_png, pictures)  # while earlier batches are scored
            images = ({**row, "png": png} for row, png in zip(rows, encoded, strict=True))
            for batch in _batches(images, self._spec.batch_size):
                found += self._scored(batch)
        return found

    def start(self) -> None:
        """Raises WrongModel where this machine has not what the job has."""
        if not self._is_closed:
            self._running()

    def close(self) -> None:
        self._is_closed = True
        if process := self._process:
            process.close()

    def _scored(self, images: Sequence[Mapping[str, Any]]) -> list[Scores | str]:
        request = json.dumps({"images": images}, ensure_ascii=False).encode(errors="replace") + b"\n"
        if self._is_closed:
            raise _Closed
        try:
            answer = self._running().ask(request, self._spec.batch_timeout_s, "batch_timeout_s")
        except ScorerDied as error:
            self._end()
            self._count(error)
            raise
        self._num_deaths = 0
        return read_answers(answer, self.info, len(images))

    def _running(self) -> LineProcess:
        """Started where it is not. Raises WrongModel where this machine has not what the job has."""
        if self._process is None:
            try:
                self._process = _launched(self._spec)
                if self._is_closed:  # meanwhile, by a thread that found no process
                    raise _Closed
                there = _heard(self._process, self._spec)
            except _Closed:
                self._end()
                raise
            except DarkroomError as error:
                if self._num_deaths and isinstance(error, ScorerDied):
                    raise
                self._end()
                raise WrongModel(f"on {platform.node()}, {error}") from error
            if there.extractor_id != self.info.extractor_id:
                self._end()
                raise WrongModel(
                    f"{_label(self._spec)}: on {platform.node()} its files, or what it says of itself, are not those "
                    f"that this job was started with ({there.weights} there, {self.info.weights} here); install the "
                    "same there"
                )
        return self._process

    def _end(self) -> None:
        if self._process:
            self._process.close()
        self._process = None

    def _count(self, error: ScorerDied) -> None:
        if self._is_closed:
            raise _Closed from error
        self._num_deaths += 1
        if self._num_deaths >= _MOST_DEATHS:
            raise BrokenScorer(f"{error} (for the {self._num_deaths}th time in a row)") from error


class _Closed(EndsRun):
    """It was ended on purpose: no picture's fault."""


def _label(spec: ExtractorSpec) -> str:
    return f"extractor {spec.name}"


def _launched(spec: ExtractorSpec) -> LineProcess:
    """The running command. Raises DarkroomError where there is no such program."""
    words = split(spec.command or "")
    if shutil.which(words[0]) is None:
        raise DarkroomError(
            f"{_label(spec)}: command: no program {words[0]} on {platform.node()}; install it there, or give its full "
            "path"
        )
    return LineProcess(_label(spec), words, {"DARKROOM_DEVICE": spec.device})


def _heard(process: LineProcess, spec: ExtractorSpec) -> ExtractorInfo:
    """What it says that it is, and what it is made of. Raises ScorerDied, and other DarkroomErrors."""
    lines = list(_code_lines(spec, split(spec.command or "")))
    hello = read_hello(process.ask(b"", spec.start_timeout_s, "start_timeout_s"), _label(spec))
    return _info(spec, hello, lines)


def _info(spec: ExtractorSpec, hello: Hello, lines: Sequence[str]) -> ExtractorInfo:
    names = [score.name for score in hello.scores]
    for name in spec.lower_is_better:
        if name not in names:
            raise DarkroomError(
                f"{_label(spec)}: lower_is_better={name}: it has no such score; it has {', '.join(names)}"
            )
    scores = tuple(
        replace(score, higher_is_better=False) if score.name in spec.lower_is_better else score
        for score in hello.scores
    )
    columns = tuple(dict.fromkeys((*hello.columns, *spec.columns)))
    said = [f"hello\0{hello.name}\0{hello.version}", *(f"score\0{name}" for name in names)]
    parts = [*lines, *said, *(f"column\0{name}" for name in columns)]
    code = f"sha256:{hashlib.sha256(chr(10).join(parts).encode(errors='replace')).hexdigest()}"
    about = f"{hello.name} {hello.version}"
    return ExtractorInfo(
        spec.name,
        about,
        "none",
        len(scores),
        is_scorer=True,
        code=code,
        scores=scores,
        columns=columns,
        reads_captions=hello.reads_prompt,
    )


def _is_file(text: str) -> bool:
    """Words that are too long for a path, such as a program's text, name none."""
    with suppress(OSError):
        return Path(text).is_file()
    return False


def _code_lines(spec: ExtractorSpec, words: Sequence[str]) -> Iterator[str]:
    """What decides its scores: each word, by its bytes where it names a file, and the files that it does not name."""
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        path = value if equals and _is_file(value) else word
        if _is_file(path) and (place or "/" in word):
            yield f"word\0{name if path == value else ''}\0{''.join(source_lines(path))}"
        else:
            yield f"word\0{word}"
    for file in spec.files:
        if not Path(file).expanduser().exists():
            raise DarkroomError(f"{_label(spec)}: files: no {file} on {platform.node()}; put it there, or leave it out")
        yield from (f"file\0{line}" for line in source_lines(file))


def _placed(word: str) -> str:
    """A word, or what follows its =, where it is a file or, with a slash in it, a folder."""
    name, equals, value = word.partition("=")
    for start, path in ((f"{name}{equals}", value), ("", word)):
        there = os.path.expanduser(path)  # noqa: PTH111 - it leaves a ~ of nobody as it is
        if _is_file(there) or ("/" in path and os.path.isdir(there)):  # noqa: PTH112
            return start + from_anywhere(path)
    return word


def _batches(images: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    """At most `size` images each, and as few as keep a line below _MOST_CHARS, one at least."""
    batch: list[dict[str, Any]] = []
    for image in images:
        chars = sum(len(each["png"]) for each in (*batch, image))
        if batch and (len(batch) == size or chars > _MOST_CHARS):
            yield batch
            batch = []
        batch.append(image)
    if batch:
        yield batch


def _png(picture: np.ndarray) -> str:
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "PNG", compress_level=0)  # a pipe is faster than deflate
    return base64.b64encode(data.getbuffer()).decode()
