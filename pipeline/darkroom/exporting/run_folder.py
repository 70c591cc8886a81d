"""A run's own folder as a dataset: `README.md`, by whose header `datasets.load_dataset` opens the folder without
further words. It names files that records name and no others: what attempts left behind beside them is not opened.
Images that are objects of their own have their captions in a table, `metadata.parquet`.

Both are functions of the run's records. They are written when a command on the run ends, so that they lag behind a
command that was killed until the next one ends.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.domain.settings import IMAGE_SETTINGS
from darkroom.exporting.card_header import header_lines
from darkroom.exporting.column_types import feature, in_json
from darkroom.exporting.selection import LeftOut, Selection
from darkroom.exporting.shards import LIST, PARQUET, Format
from darkroom.reporting.summary import markdown
from darkroom.runs.cells import CellInfo, dropped_cells, in_order
from darkroom.runs.encoding import EXTENSIONS, PLAIN, task_of
from darkroom.runs.files import IMAGES_PREFIX
from darkroom.runs.layouts import CONTAINERS
from darkroom.runs.listing import committed_shards
from darkroom.runs.manifest import RECORD_SCHEMA
from darkroom.runs.own_columns import own_schema
from darkroom.runs.run import RunInfo
from darkroom.storage.store import NotFound, Store

CARD_KEY, TABLE_KEY = "README.md", LIST
MOST_CONTAINERS = 10_000  # named one by one; `datasets` looks for each
MOST_IMAGES = 1_000_000  # rows of the table, which is made in memory
_OURS = "# Of a run of Darkroom, whose commands write this file anew"  # the header's first line
_TABLE = b"darkroom.images"  # in the table's metadata
_ROWS = 1000  # of a row group
_SPLIT = "train"
# Of a sample's `.json` in tars, what is of one type in every sample.
_SAID = ("image_id", "prompt", "seed", "model", "model_revision", "dtype")


@dataclass(frozen=True)
class FolderCard:
    """What became of a run's card."""

    num_images: int = 0  # that it opens
    why_not: str = ""  # nothing was written; empty: it was


def write_folder_card(store: Store, info: RunInfo, cells: Mapping[str, CellInfo]) -> FolderCard:
    """Write README.md, and the table where there is one, of the images that are committed.

    Of several commands that end at once, the one that writes last has seen the shards of all: after it has written, it
    looks whether shards were committed or replaced since.
    """
    if foreign := _foreign(store):
        return FolderCard(why_not=f"{store.describe(foreign)} is not Darkroom's, and stays")
    while True:
        before = _listing(store)
        found = _described(store, info, cells)
        if isinstance(found, FolderCard):
            store.delete([CARD_KEY, TABLE_KEY])  # of fewer images, which it would open as if they were all
            return found
        num_images, files = found
        for key, (data, content_type) in files.items():
            store.put(key, data, content_type)
        if _listing(store) == before:
            return FolderCard(num_images)


def folder_card_fault(store: Store, info: RunInfo, cells: Mapping[str, CellInfo]) -> str | None:
    """How a card that is there tells of other images than the run's; None where it does not, or there is none."""
    if _stored(store, CARD_KEY) is None or _foreign(store):
        return None
    found = _described(store, info, cells)
    files = {} if isinstance(found, FolderCard) else found[1]
    wrong = [key for key, (data, _) in files.items() if _stored(store, key) != data]
    return f"{store.describe(wrong[0])} is not of the images that the run has" if wrong else None


def _foreign(store: Store) -> str | None:
    """A file of somebody else in the place of one of these."""
    card, table = _stored(store, CARD_KEY), _stored(store, TABLE_KEY)
    if card is not None and not card.startswith(f"---\n{_OURS}".encode()):
        return CARD_KEY
    return TABLE_KEY if table is not None and not _is_our_table(table) else None


def _is_our_table(data: bytes) -> bool:
    try:
        return _TABLE in (pq.read_schema(io.BytesIO(data)).metadata or {})
    except pa.ArrowException:
        return False


def _stored(store: Store, key: str) -> bytes | None:
    try:
        return store.get(key)
    except NotFound:
        return None


def _listing(store: Store) -> str:
    """Equal where the same manifests are there as before."""
    digest = sha256()
    for each in committed_shards(store, with_copies=False):
        digest.update(f"{each.shard.shard_id} {each.written.timestamp()}\n".encode())
    return digest.hexdigest()


# What is written -----------------------------------------------------------------------------------------------------

Files = dict[str, tuple[bytes, str]]  # key -> bytes and content type


def _described(store: Store, info: RunInfo, cells: Mapping[str, CellInfo]) -> tuple[int, Files] | FolderCard:
    """The number of images, and the files that open them; or why there are none."""
    if info.output.video:
        return FolderCard(why_not="it is of videos; export them")
    dropped = dropped_cells(store)
    chosen = {cell_id: cell for cell_id, cell in in_order(cells).items() if cell_id not in dropped}
    starts = [part.start for part in info.parts]
    selection = Selection("", store, info.shard_size, chosen, None, {}, (), starts=starts)
    is_of_files = info.output.layout not in CONTAINERS
    return (_of_files if is_of_files else _of_containers)(selection, info)


def _of_containers(selection: Selection, info: RunInfo) -> tuple[int, Files] | FolderCard:
    keys: dict[str, dict[str, None]] = {}  # by cell_id, each once, in order of rows
    num_images, left_out = 0, LeftOut()
    for table in selection.blocks(["key", "cell_id"], left_out):
        num_images += len(table)
        for cell_id, key in dict.fromkeys(zip(table["cell_id"].to_pylist(), table["key"].to_pylist(), strict=True)):
            keys.setdefault(cell_id, {})[key] = None
        if sum(map(len, keys.values())) > MOST_CONTAINERS:
            break  # the rest of a run of a hundred million images would be read for nothing
    found = {cell_id: list(each) for cell_id, each in keys.items()}
    every = [key for each in found.values() for key in each]
    if fault := _fault(num_images, len(every), MOST_CONTAINERS, f"{info.output.layout} files"):
        return fault
    configs = {"default": every, **(found if len(found) > 1 else {})}
    files = {name: {_SPLIT: each} for name, each in configs.items()}
    features = _of_parquet(selection, info) if info.output.layout == "parquet" else _of_tars(selection, info)
    head = header_lines([_OURS], task_of(info.output.image_format), num_images, files, features, info.output.layout)
    return num_images, {CARD_KEY: (_card(head, selection, info, num_images, left_out), "text/markdown")}


def _of_files(selection: Selection, info: RunInfo) -> tuple[int, Files] | FolderCard:
    form = Format("imagefolder", info.output.image_format, False, selection.own, (), selection.cells)
    left_out = LeftOut()
    table = _table(form, selection, left_out)
    num_images = 0 if table is None else pq.ParquetFile(io.BytesIO(table)).metadata.num_rows
    if fault := _fault(num_images, num_images, MOST_IMAGES, "images as files"):
        return fault
    assert table is not None
    features = [{"name": "image", "dtype": "image"}, *(feature(field) for field in form.types)]
    files = {"default": {_SPLIT: [f"{IMAGES_PREFIX}**", TABLE_KEY]}}
    head = header_lines([_OURS], task_of(info.output.image_format), num_images, files, features, "imagefolder")
    card = _card(head, selection, info, num_images, left_out)
    return num_images, {TABLE_KEY: (table, PARQUET), CARD_KEY: (card, "text/markdown")}


def _fault(num_images: int, number: int, most: int, what: str) -> FolderCard | None:
    """Why a folder has no card."""
    if not num_images:
        return FolderCard(why_not="no image is committed")
    return FolderCard(num_images, f"more than {most:,} {what}, which would open slowly") if number > most else None


def _table(form: Format, selection: Selection, left_out: LeftOut) -> bytes | None:
    """Every image's file and columns; None where there is no image. Ends early where there are too many."""
    schema = pa.schema([pa.field("file_name", pa.string()), *form.types], metadata={_TABLE: b"1"})
    buffer, num_rows = io.BytesIO(), 0
    with pq.ParquetWriter(buffer, schema, compression="zstd") as writer:
        for table in selection.blocks(None, left_out):
            columns = form.columns(table).add_column(0, "file_name", table["key"])
            writer.write_table(columns.cast(schema), row_group_size=_ROWS)
            num_rows += len(table)
            if num_rows > MOST_IMAGES:
                break
    return buffer.getvalue() if num_rows else None


# Columns of containers -----------------------------------------------------------------------------------------------


def _own(selection: Selection, info: RunInfo) -> list[pa.Field]:
    """Columns of samples beside image, prompt and settings; none in containers of older versions."""
    return list(own_schema(selection.own)) if info.output.own_columns else []


def _of_parquet(selection: Selection, info: RunInfo) -> list[dict[str, Any]]:
    texts = [{"name": name, "dtype": "string"} for name in PLAIN]
    return [{"name": "image", "dtype": "image"}, *texts, *map(feature, _own(selection, info))]


def _of_tars(selection: Selection, info: RunInfo) -> list[dict[str, Any]]:
    """With what is of one type in the `.json` of every sample: its nested values `datasets` leaves out."""
    settings = [RECORD_SCHEMA.field(name) for name in (*_SAID, *(each.name for each in IMAGE_SETTINGS))]
    json_fields = [feature(in_json(field)) for field in (*settings, *_own(selection, info))]
    texts = [{"name": name, "dtype": "string"} for name in ("txt", "__key__", "__url__")]
    image = {"name": EXTENSIONS[info.output.image_format], "dtype": "image"}
    return [image, texts[0], {"name": "json", "struct": json_fields}, *texts[1:]]


# The page ------------------------------------------------------------------------------------------------------------


def _card(head: Sequence[str], selection: Selection, info: RunInfo, num_images: int, left_out: LeftOut) -> bytes:
    models = list(dict.fromkeys(cell.cell.model.repo_id for cell in selection.cells.values()))
    lines = [
        *head,
        "",
        "# Images of a run of Darkroom",
        "",
        markdown(f"{num_images:,} images that {', '.join(models)} made of prompts. All of them are synthetic."),
        "",
        "```python",
        "import datasets",
        "",
        'images = datasets.load_dataset("path/to/this/folder")',
        "```",
        "",
        *_about_cells(selection, info),
        "This page is of the images that were there when a command on the run last ended; the next writes it anew.",
        "",
        *(f"- {count:,} records have no image: {status}" for status, count in sorted(left_out.without_image.items())),
        "",
        "`darkroom export` hands the run over: with splits, filters, scores, a card that says how the images were made "
        "and how good they are, and a list of digests. `metadata/` has a record of each image, and of each that is "
        "missing.",
    ]
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _about_cells(selection: Selection, info: RunInfo) -> Iterator[str]:
    """How cells of a sweep are told apart."""
    if len(selection.cells) == 1:
        return
    apart = '`load_dataset(folder, "<cell_id>")` opens one' if info.output.layout in CONTAINERS else "see `cell_id`"
    yield f"They are of {len(selection.cells)} cells; {apart}:"
    yield ""
    yield from (f"- `{cell_id}`: {markdown(cell.headline)}" for cell_id, cell in selection.cells.items())
    yield ""
