"""Prompts in every shape that a caller has them: a place, a list, a table, a pattern, the embedded world's captions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.dataset import PromptDataset, PromptScan, SourceDataset
from darkroom.prompts.opening import open_prompts, template_prompts
from darkroom.prompts.sources import TableSource
from darkroom.runs.run import PromptsInfo

DEMO = "demo"
OnInvalid = Literal["fail", "record"]


@dataclass(frozen=True)
class Prompts:
    """A dataset that is not read yet, and what a run says of it."""

    kind: str  # demo, file, template or memory
    name: str  # for people
    dataset: PromptDataset
    settings: Mapping[str, object] = field(default_factory=dict)  # of the command that would name it again

    def info(self, scan: PromptScan) -> PromptsInfo:
        return PromptsInfo(self.name, scan.fingerprint, scan.num_rows, self.settings)


def prompts_of(
    source: Any,
    on_invalid: OnInvalid = "fail",
    columns: Mapping[str, str | None] | None = None,
    endpoint_url: str | None = None,
) -> Prompts:
    """Prompts as they were given: "demo", a path, glob or s3:// address; a list of texts or of dicts, an iterator of
    such, a pandas DataFrame or an Arrow table; or Prompts that `template` made."""
    if isinstance(source, Prompts):
        return source
    if isinstance(source, str | Path):
        return demo() if source == DEMO else files(str(source), on_invalid, columns, endpoint_url)
    for name, value in {"columns": columns, "prompts_endpoint_url": endpoint_url}.items():
        if value is not None:
            raise DarkroomError(f"{name}: is for prompt files; rename the columns of what is given in memory instead")
    return in_memory(source, on_invalid)


def demo() -> Prompts:
    """Captions of the embedded world."""
    from darkroom.demo.prompts import demo_prompts

    table = pa.Table.from_pylist(demo_prompts())
    return Prompts(DEMO, DEMO, SourceDataset(DEMO, [TableSource(DEMO, table)]), {"kind": DEMO})


def files(
    uri: str,
    on_invalid: OnInvalid = "fail",
    columns: Mapping[str, str | None] | None = None,
    endpoint_url: str | None = None,
) -> Prompts:
    """`columns`: which column a setting is read from, where it is not called so; None: from none."""
    given = {name: column for name, column in (columns or {}).items() if column != name}
    settings: dict[str, object] = {"kind": "file", "uri": uri, "on_invalid": on_invalid}
    settings |= {"endpoint_url": endpoint_url} if endpoint_url is not None else {}
    settings |= {"columns": given} if given else {}
    return Prompts("file", uri, open_prompts(uri, on_invalid, endpoint_url, columns), settings)


def template(
    pattern: str,
    slots: Mapping[str, Sequence[str]],
    mode: Literal["product", "random"] = "product",
    num_prompts: int | None = None,
    seed: int = 0,
) -> Prompts:
    """Prompts of a pattern such as "a {colour} circle": every combination of its slots' values, or random ones."""
    settings = {"pattern": pattern, "slots": slots, "mode": mode, "num_prompts": num_prompts, "seed": seed}
    said = {"kind": "template", **{name: value for name, value in settings.items() if value is not None}}
    return Prompts("template", pattern, template_prompts(pattern, slots, mode, num_prompts, seed), said)


def in_memory(source: Any, on_invalid: OnInvalid = "fail", name: str = "memory") -> Prompts:
    """Equal contents are equal prompts: a call with the same ones goes on with its run."""
    dataset = SourceDataset(name, [TableSource(name, _table(source))], on_invalid)
    return Prompts(name, name, dataset, {"kind": name})


def _table(source: Any) -> pa.Table:
    if isinstance(source, pa.Table):
        return source
    if hasattr(source, "to_parquet") and hasattr(source, "columns"):  # a DataFrame; pandas need not be imported
        return _plain(pa.Table.from_pandas(source, preserve_index=False))
    if isinstance(source, Iterable):
        return _of_rows(list(source))
    raise DarkroomError(
        f"prompts: a {type(source).__name__} is none; give a path, a list of texts or dicts, a DataFrame or a table"
    )


def _plain(table: pa.Table) -> pa.Table:
    """With texts as lists of Python's have them, so that equal rows are equal prompts."""
    fields = [each.with_type(pa.string()) if pa.types.is_large_string(each.type) else each for each in table.schema]
    return table.replace_schema_metadata(None).cast(pa.schema(fields))


def _of_rows(rows: Sequence[Any]) -> pa.Table:
    if not rows:
        raise DarkroomError("prompts: none are given; a run needs at least one prompt")
    for number, row in enumerate(rows):
        if not isinstance(row, str | Mapping):
            raise DarkroomError(
                f"prompts: row {number} is a {type(row).__name__}; give texts, or dicts with a key 'prompt'"
            )
    dicts = [{"prompt": row} if isinstance(row, str) else row for row in rows]
    names = list(dict.fromkeys(name for row in dicts for name in row))
    try:
        return pa.table({name: pa.array([row.get(name) for row in dicts]) for name in names})
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise DarkroomError(
            f"prompts: values of one key are of different types ({str(error).splitlines()[0]}); give it one type"
        ) from error
