"""Prompts in every shape that a caller has them: a place, a list, a table, a pattern, the embedded world's captions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.dataset import PromptDataset, PromptScan
from darkroom.prompts.opening import open_prompts, template_prompts
from darkroom.runs.run import PromptsInfo

DEMO, MEMORY = "demo", "memory"
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
    if endpoint_url is not None:
        raise DarkroomError("prompts_endpoint_url: is for prompt files on S3, and these prompts are in memory")
    return Prompts(MEMORY, MEMORY, open_prompts(source, on_invalid, None, columns, MEMORY), {"kind": MEMORY})


def demo() -> Prompts:
    """Captions of the embedded world."""
    from darkroom.demo.world import demo_prompts

    table = pa.Table.from_pylist(demo_prompts())
    return Prompts(DEMO, DEMO, open_prompts(table, name=DEMO), {"kind": DEMO})


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
