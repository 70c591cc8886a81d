"""The rewritten prompts: numbered Parquet files, each of a range of rows, put whole or not at all.

A folder of them is a prompt set as any other. Each row has the rewritten prompt, or the original one where there is no
usable answer, all else that its original says, and how it came about. A part that is there is never written again, so
that the same command goes on where it was.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import PromptRow
from darkroom.prompts.dataset import READ_FIELDS, PromptDataset, PromptScan, columns_of
from darkroom.prompts.windows import RowWindow
from darkroom.rewriting.cache import AnswerCache
from darkroom.rewriting.questions import FAILED, OK, Answer, Question, Wording, questions
from darkroom.rewriting.rewriter import Rewriter
from darkroom.storage.claims import Claim
from darkroom.storage.store import Store

CLAIM = Claim("_rewrite.json", "a rewriting", "the same words on the same prompts")  # `_`: no reader of a set reads it
OWN_FIELDS = [
    pa.field("original_prompt", pa.string()),
    pa.field("original_prompt_id", pa.string()),
    pa.field("rewrite_index", pa.int64()),  # which of the row's rewrites
    pa.field("rewrite_status", pa.string()),
    pa.field("rewrite_error", pa.string()),  # why the original is kept
    pa.field("rewrite_seed", pa.int64()),
    pa.field("rewrite_hints", pa.string()),
    pa.field("rewrite_model", pa.string()),
    pa.field("rewrite_id", pa.string()),
]
_STATUS = "rewrite_status"


@dataclass(frozen=True)
class PartDone:
    """One more part is there, or was there, or lacks answers that a server did not give."""

    num_done: int
    num_parts: int
    was_there: bool
    num_failed: int = 0  # answers; then it is not written
    error: str = ""  # of the first of these


@dataclass
class Counts:
    """Of all parts."""

    by_status: Counter[str] = field(default_factory=Counter)  # rewritten rows
    num_asked: int = 0  # questions that were neither known nor asked twice
    num_parts_before: int = 0
    num_parts_missing: int = 0


@dataclass(frozen=True)
class Rewriting:
    """All that decides the parts."""

    dataset: PromptDataset
    scan: PromptScan
    wording: Wording
    rewriter: Rewriter
    shard_size: int  # prompt rows of a part

    @property
    def keys(self) -> list[str]:
        count = -(-self.scan.num_rows // self.shard_size)
        return [f"part-{number:05d}-of-{count:05d}.parquet" for number in range(count)]

    @property
    def said(self) -> dict[str, object]:
        """By the names that a user knows."""
        wording = self.wording
        return {
            "prompts": self.scan.fingerprint,
            **self.rewriter.identity,
            "instruction": wording.instruction,
            "advice": {name: list(values) for name, values in wording.advice.items()},
            "num_rewrites": wording.num_rewrites,
            "seed": wording.seed,
            "shard_size": self.shard_size,
        }

    @property
    def claim(self) -> bytes:
        return (json.dumps(self.said, ensure_ascii=False, indent=2) + "\n").encode()

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([*READ_FIELDS, *self.scan.extras_schema, *OWN_FIELDS])

    def check(self) -> None:
        """Raises DarkroomError for prompts of which something would be lost."""
        if self.scan.num_invalid:
            raise DarkroomError(
                f"prompts: {self.scan.num_invalid:,} rows are invalid and would be lost; mend or drop them first"
            )
        taken = {each.name for each in OWN_FIELDS}
        for name in self.scan.extras_schema.names:
            if name in taken:
                raise DarkroomError(
                    f"prompts: column {name!r} is there already, and a rewriting has its own of that name; rename or "
                    "drop it, or rewrite the original prompts"
                )


def write_parts(rewriting: Rewriting, to: Store, cache: AnswerCache, counts: Counts) -> Iterator[PartDone]:
    """Write what is missing; tells of each part. `counts` grows meanwhile."""
    keys, there = rewriting.keys, {info.key for info in to.list()}
    window: RowWindow | None = None
    for number, key in enumerate(keys):
        if key in there:
            counts.by_status.update(_statuses(to.get(key)))
            counts.num_parts_before += 1
            yield PartDone(number + 1, len(keys), was_there=True)
            continue
        start = number * rewriting.shard_size
        window = window or RowWindow(rewriting.dataset.blocks(start))
        rows, extras = window.rows(start, min(start + rewriting.shard_size, rewriting.scan.num_rows))
        asked = [questions(row.prompt, rewriting.wording, rewriting.rewriter.identity) for row in rows]
        answers = _answers([each for some in asked for each in some], rewriting.rewriter, cache, counts)
        if not counts.by_status:
            _check_taken(list(answers.values()))
        failed = [answer for answer in answers.values() if answer.status == FAILED]
        if failed:
            counts.num_parts_missing += 1
            yield PartDone(number + 1, len(keys), False, len(failed), failed[0].error or "")
            continue
        data = _part(rewriting, rows, extras, asked, answers)
        if not to.put_if_absent(key, data, "application/vnd.apache.parquet"):
            data = to.get(key)  # another command was first
        counts.by_status.update(_statuses(data))
        yield PartDone(number + 1, len(keys), was_there=False)


def _check_taken(answers: Sequence[Answer]) -> None:
    """Raises DarkroomError where a server takes none of the first part's requests, as of a wrong setting."""
    if answers and all(answer.is_rejected for answer in answers):
        raise DarkroomError(
            f"rewrite: none of the first {len(answers):,} prompts is taken: {answers[0].error}; check "
            "rewrite.parameters, rewrite.max_new_tokens and the server, and give another `to`, or drop these prompts"
        )


def _answers(asked: Sequence[Question], rewriter: Rewriter, cache: AnswerCache, counts: Counts) -> Mapping[str, Answer]:
    """By rewrite_id; of equal questions one is asked."""
    wanted = {each.rewrite_id: each for each in asked}
    found = cache.get(wanted)
    left = [each for name, each in wanted.items() if name not in found]
    for question, answer in rewriter.answers(left) if left else ():
        found[question.rewrite_id] = answer
        counts.num_asked += 1
        if answer.status != FAILED and not answer.is_rejected:
            cache.put(question.rewrite_id, answer)
    return found


def _part(
    rewriting: Rewriting,
    rows: Sequence[PromptRow],
    extras: pa.Table,
    asked: Sequence[Sequence[Question]],
    answers: Mapping[str, Answer],
) -> bytes:
    """A Parquet file of the rows, each with its rewrites one after the other."""
    count = rewriting.wording.num_rewrites
    rewritten, own = [], []
    for row, some in zip(rows, asked, strict=True):
        for index, question in enumerate(some):
            answer = answers[question.rewrite_id]
            prompt_id = row.prompt_id if count == 1 else f"{row.prompt_id}-{index}"
            prompt = answer.text if answer.status == OK else row.prompt
            rewritten.append(PromptRow(row.row, prompt_id, prompt, row.overrides))
            how = (answer.status, answer.error, question.seed, question.hints or None, rewriting.rewriter.name)
            own.append((row.prompt, row.prompt_id, index, *how, question.rewrite_id))
    places = pa.array([place for place in range(len(rows)) for _ in range(count)], pa.int64())
    more = [column.take(places) for column in extras.columns]
    ours = [pa.array(list(values), each.type) for values, each in zip(zip(*own, strict=True), OWN_FIELDS, strict=True)]
    buffer = BytesIO()
    pq.write_table(pa.table([*columns_of(rewritten), *more, *ours], schema=rewriting.schema), buffer)
    return buffer.getvalue()


def _statuses(data: bytes) -> list[str]:
    return list(pq.read_table(BytesIO(data), columns=[_STATUS])[_STATUS].to_pylist())
