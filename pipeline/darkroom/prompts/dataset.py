"""A prompt dataset: sources joined end to end, checked once, read in blocks of rows.

Knows sources and what a look at them found; knows no file format.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import pyarrow as pa

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest
from darkroom.domain.requests import PromptRow
from darkroom.prompts.blocks import BLOCK_ROWS, PromptBlock, PromptScan
from darkroom.prompts.checks import Checked
from darkroom.prompts.columns import OVERRIDES, Reading, extra_names, nearly_read
from darkroom.prompts.look import Facts, Problem, checked_block, look, names
from darkroom.prompts.raw import RawBlock, Source

OnInvalid = Literal["fail", "record"]


@dataclass(frozen=True)
class SourceDataset:
    """Rows of all sources in order. The look at every row is taken once, when it is first needed."""

    name: str
    sources: Sequence[Source]
    on_invalid: OnInvalid = "fail"
    reading: Reading = field(default_factory=Reading)
    partitions: Sequence[Mapping[str, str | None]] = ()  # settings that the sources' folders say
    warnings: tuple[str, ...] = ()  # of what was found before any file was opened

    def scan(self, num_images_per_prompt: int) -> PromptScan:
        facts = self._facts
        tally = facts.tally
        return PromptScan(
            num_rows=facts.num_rows,
            num_images=tally.num_images_given + tally.num_rows_without * num_images_per_prompt,
            num_invalid=tally.num_faulty,
            fingerprint=self._fingerprint,
            extras_schema=self._extras_schema,
            max_prompt_chars=tally.max_prompt_chars,
            num_repeats=len(facts.repeats),
            num_overriding={name: count for name, count in tally.num_overriding.items() if count},
            warnings=tuple(self._warnings()),
        )

    def blocks(self, start: int = 0, block_rows: int = BLOCK_ROWS) -> Iterator[PromptBlock]:
        facts = self._facts
        for source, first, stop in zip(self.sources, facts.starts, facts.starts[1:], strict=False):
            if stop <= start:
                continue
            source.check_unchanged()
            for raw in source.read(max(start - first, 0), block_rows, facts.extras):
                yield self._block(first + raw.start, raw)
            source.check_unchanged()

    @cached_property
    def _fingerprint(self) -> str:
        contents = [source.content_digest() for source in self.sources]
        for source in self.sources:
            source.check_unchanged()  # what was looked at is what was digested
        said: dict[str, object] = {"columns": dict(self.reading.given)} if self.reading.given else {}
        said |= {"partitions": list(map(dict, self.partitions))} if any(self.partitions) else {}
        return digest("prompts", contents, *([said] if said else []), length=64)

    @cached_property
    def _facts(self) -> Facts:
        facts = look(self.sources)
        if not facts.num_rows:
            raise DarkroomError(f"{self.name}: no rows; a run needs at least one prompt")
        for name, column in self.reading.given.items():
            if column is not None and name not in facts.tally.seen:
                raise DarkroomError(f"{self.name}: no row has {column!r}, and prompts.columns.{name} names it")
        problems = list(facts.tally.problems.values())
        if problems and self.on_invalid == "fail":
            raise DarkroomError(_refusal(problems))
        return facts

    @cached_property
    def _extras_schema(self) -> pa.Schema:
        called = extra_names(self._facts.extras.names)
        return pa.schema([field.with_name(called[field.name]) for field in self._facts.extras])

    def _block(self, start: int, raw: RawBlock) -> PromptBlock:
        checked, extras = checked_block(raw, self._facts.extras)
        named = names(start, checked, self._facts.repeats, self._facts.clashes)
        return PromptBlock(start, list(_rows(start, checked, named)), extras.rename_columns(self._extras_schema.names))

    def _warnings(self) -> Iterator[str]:
        yield from self.warnings
        for name, called in extra_names(self._facts.extras.names).items():
            near = nearly_read(name)
            if near:
                yield (
                    f"{self.name}: column {name!r} is not read as {near!r}, but carried as {called!r}; rename it, or "
                    f"set prompts.columns.{near} to its name"
                )
            elif name != called:
                yield f"{self.name}: column {name!r} is carried as {called!r}, since records have one of that name"
        if flagged := self._facts.tally.num_flagged:
            yield (
                f"{self.name}: {flagged} prompts begin with # or hold flags such as --steps; they are rendered as they "
                "are written"
            )


def _rows(start: int, checked: Checked, named: Sequence[str]) -> Iterator[PromptRow]:
    prompts = checked.columns["prompt"].to_pylist()
    given = [column for column in OVERRIDES if column in checked.columns]
    columns = [checked.columns[column].to_pylist() for column in given]
    for position, (prompt, name, *said) in enumerate(zip(prompts, named, *columns, strict=True)):
        fault = checked.faults.get(position)
        overrides = tuple((column, value) for column, value in zip(given, said, strict=True) if value is not None)
        yield PromptRow(start + position, name, prompt or "", overrides, str(fault) if fault else None)


def _refusal(problems: Sequence[Problem]) -> str:
    others = len(problems) - 1
    more = f"; {others} more kind{'s' if others > 1 else ''} of trouble after it" if others else ""
    return f"{problems[0]}{more}; mend or drop them, or set prompts.on_invalid=record to keep them as failed records"
