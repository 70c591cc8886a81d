"""A run as prompts: each of its images is the picture of a row, so that a second run is made from it.

Rows name an image by its key and its digest, so that they are the same wherever the first run lies, and an image that
is another by then is one failed row. What a run's records say beside waits in a file, and not in memory.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from darkroom.api.run import cell_address, store_at
from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import OK, RECORD_COLUMNS, num_without_image
from darkroom.prompts.columns import READ, column_mapping
from darkroom.prompts.dataset import OnInvalid, PromptDataset, SourceDataset
from darkroom.prompts.sources import TableSource
from darkroom.runs.bulk import read_each
from darkroom.runs.listing import committed_shards
from darkroom.runs.manifest import WithExtras
from darkroom.runs.opening import chosen_cell, open_whole
from darkroom.runs.own_columns import free_name
from darkroom.runs.run import RunInfo
from darkroom.storage.named_files import pinned_name
from darkroom.storage.store import Store

_READ = ("prompt", "negative_prompt", "prompt_id", "sample_index", "image_id", "key", "member", "sha256", "status")
_ORIGIN = ("image_id", "prompt_id", "sample_index")  # that rows carry as source_<name>
_ADDRESSED = ("files", "webdataset")  # layouts whose images have a name each


def run_prompts(
    uri: str, on_invalid: OnInvalid, endpoint_url: str | None, columns: Mapping[str, str | None] | None
) -> tuple[PromptDataset, str]:
    """Rows of the images of a run, or of one cell as run#cell_id; and the address where their pictures' names begin.

    Raises DarkroomError where there is no such cell, or none of its images can be named.
    """
    if not uri:
        raise DarkroomError("prompts.uri is not set; give the folder or address of a run, or run#cell_id")
    address, cell_id = cell_address(uri)
    store, mapping = store_at(address, endpoint_url, "prompts.uri"), column_mapping(columns or {})
    with _named(uri):
        run, cells = open_whole(store)
        _check(run)
        table, told = _read(store, run, chosen_cell(uri, run, cells, cell_id))
    warnings = tuple(f"{uri}: {sentence}" for sentence in told)
    return SourceDataset(
        uri, [TableSource(uri, table, mapping)], on_invalid, mapping, warnings=warnings
    ), store.spec.uri


@contextmanager
def _named(uri: str) -> Iterator[None]:
    try:
        yield
    except DarkroomError as error:
        raise type(error)(f"prompts.uri={uri}: {error}") from error


def _check(run: RunInfo) -> None:
    if run.output.video:
        raise DarkroomError("the run is of videos, and images are made from pictures; give a run of images")
    if run.output.layout not in _ADDRESSED:
        raise DarkroomError(
            f"its images lie in files of output.layout={run.output.layout}, where they have no names; give a run with "
            f"output.layout={' or '.join(_ADDRESSED)}"
        )


def _read(store: Store, run: RunInfo, cell_id: str) -> tuple[pa.Table, list[str]]:
    """The rows, and what is to be told of those that are not there."""
    shards = list(committed_shards(store, cell_id))
    by_status: Counter[str] = Counter()
    found = _on_disk(_rows(table, by_status) for _, table in read_each(store, shards, WithExtras(_READ)))
    if not found.num_rows:
        raise DarkroomError(f"cell {cell_id} has no images yet; render it first")
    told = []
    if left := run.num_shards - len(shards):
        told.append(
            f"{left:,} of {run.num_shards:,} shards of this run are not rendered yet, and their images are no rows; "
            "finish it, and give the command again with prompts.grow=true"
        )
    if lost := num_without_image(by_status):
        told.append(f"{lost:,} images of this run failed, or were refused, and are no rows")
    return found, told


def _rows(table: pa.Table, by_status: Counter[str]) -> pa.Table:
    """Of a shard's records, which are counted."""
    by_status.update(table["status"].to_pylist())
    table = table.filter(pc.equal(table["status"], OK))
    ids = zip(table["prompt_id"].to_pylist(), table["sample_index"].to_pylist(), strict=True)
    files = zip(*(table[name].to_pylist() for name in ("key", "member", "sha256")), strict=True)
    found = {
        "prompt": table["prompt"],
        "prompt_id": pa.array([f"{prompt_id}#{index}" for prompt_id, index in ids], pa.string()),
        "negative_prompt": pa.array([text or None for text in table["negative_prompt"].to_pylist()], pa.string()),
        "image": pa.array([_name(*each) for each in files], pa.string()),
        **{f"source_{name}": table[name] for name in _ORIGIN},
    }
    for name in table.column_names:
        if name not in RECORD_COLUMNS:
            found[free_name(name, {*found, *READ})] = table[name]
    return pa.table(found)


def _name(key: str, member: str | None, sha256: str) -> str:
    return pinned_name(f"{key}#{member}" if member else key, sha256)


def _on_disk(tables: Iterable[pa.Table]) -> pa.Table:
    """The tables joined, mapped from files that go when nothing holds them any more."""
    parts = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (schema, group) in enumerate(groupby(tables, attrgetter("schema"))):
            path = str(Path(folder) / str(number))
            with pa.ipc.new_file(path, schema) as writer:
                for table in group:
                    writer.write_table(table)
            parts.append(pa.ipc.open_file(pa.memory_map(path)).read_all())
    return pa.concat_tables(parts, promote_options="default") if parts else pa.table({})
