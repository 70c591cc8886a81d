"""A run that is there: its records, images, figures and failures, always read by way of its manifests."""

import base64
import html
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import OK, Record
from darkroom.domain.setting_values import unknown
from darkroom.evaluation.figures import Figure, Metric, read_evaluations
from darkroom.evaluation.latest import RunFigures, latest_figures
from darkroom.reporting.pictures import contact_sheet
from darkroom.runs import manifest
from darkroom.runs.bulk import read_each, read_parts
from darkroom.runs.cells import CellInfo, dropped_cells
from darkroom.runs.drivers import Spent, spent
from darkroom.runs.equal_pixels import equal_lines
from darkroom.runs.images import StoredFile, first_images, stored_files
from darkroom.runs.manifest import RECORD_SCHEMA, to_records
from darkroom.runs.opening import open_whole
from darkroom.runs.policy_counts import PolicyCount
from darkroom.runs.reading import CellState, Commits, Pace, as_in_cell, states
from darkroom.runs.run import RunInfo
from darkroom.runs.videos import frames_of
from darkroom.storage.store import Store, StoreError, checked_endpoint, is_remote, open_store, parse_spec

if TYPE_CHECKING:
    import pandas as pd

    from darkroom.api.comparison import Comparison
    from darkroom.api.copies import Copies
    from darkroom.api.exporting import Export
    from darkroom.api.measuring import EvaluationResult
    from darkroom.api.rating import Ratings
    from darkroom.api.rating_page import RatingPage
    from darkroom.api.reporting import Report

_CELL = re.compile(r"(.+)#([0-9a-f]{16})")
_SHEET_IMAGES, _QUALITY = 16, 82  # in a notebook; of WebP


@dataclass(frozen=True)
class RunStatus:
    """What of a run is committed, what failed, and what is left."""

    cells: Mapping[str, CellState]  # by cell_id
    dropped: frozenset[str]  # cell_ids, by a sweep's early choice: nothing of them is left to do
    equal: tuple[str, ...]  # sentences on cells whose images are all the same pixels
    spent: Spent | None = None  # on workers, by commands that were given a price

    @property
    def num_committed(self) -> int:
        """Shards."""
        return sum(cell.num_committed for cell in self.cells.values())

    @property
    def num_shards(self) -> int:
        return sum(cell.num_shards for cell in self.cells.values())

    @property
    def num_bytes(self) -> int:
        """Of images."""
        return sum(cell.num_bytes for cell in self.cells.values())

    @property
    def num_truncated(self) -> int:
        """Prompts that were longer than the text encoder reads."""
        return sum(cell.num_truncated for cell in self.cells.values())

    @property
    def num_unmarked(self) -> int:
        """Images in whose file the run's watermark is not found."""
        return sum(cell.num_unmarked for cell in self.cells.values())

    @property
    def by_status(self) -> Counter[str]:
        """Records by `domain.records`' words: ok, failed, ..."""
        return sum((cell.by_status for cell in self.cells.values()), Counter())

    @property
    def errors(self) -> Counter[str]:
        """Reasons of records that are not ok."""
        return sum((cell.errors for cell in self.cells.values()), Counter())

    @property
    def policy(self) -> PolicyCount:
        """What the run's policy did; of a run without one, all images are accepted."""
        return sum((cell.policy for cell in self.cells.values()), PolicyCount())

    @property
    def unfinished(self) -> dict[str, CellState]:
        """Cells that have prompt rows left, by cell_id."""
        left = {cell_id: cell for cell_id, cell in self.cells.items() if cell_id not in self.dropped}
        return {cell_id: cell for cell_id, cell in left.items() if cell.num_rows_left}

    @property
    def num_rows_left(self) -> int:
        return sum(cell.num_rows_left for cell in self.unfinished.values())

    @property
    def is_finished(self) -> bool:
        return not self.num_rows_left

    @property
    def pace(self) -> Pace:
        """How fast it grows, and when it last did."""
        return sum((cell.commits for cell in self.cells.values()), Commits()).pace


@dataclass(frozen=True, repr=False)
class Run:
    """A run as it was when it was opened; what is read from it is read anew at every call."""

    store: Store
    info: RunInfo
    cells: Mapping[str, CellInfo]  # by cell_id
    evaluation: "EvaluationResult | None" = field(default=None, compare=False)  # of the call that made it, if asked for

    @property
    def uri(self) -> str:
        """Folder or s3:// address."""
        return self.store.spec.uri

    @property
    def records(self) -> "pd.DataFrame":
        """One row an image, every cell's; the prompts' other columns beside those of records."""
        return self.table().to_pandas()

    def table(self, columns: Sequence[str] | str | None = None) -> pa.Table:
        """The same as an Arrow table; or some of its columns, or one."""
        columns = [columns] if isinstance(columns, str) else columns
        found = read_parts(self.store, columns=columns)
        parts = [as_in_cell(part.table, part.shards[0].shard.cell_id, self.cells) for part in found]
        if not parts:
            empty = RECORD_SCHEMA.empty_table()
            return empty if columns is None else empty.select([name for name in columns if name in empty.column_names])
        joined = pa.concat_tables([part.replace_schema_metadata(None) for part in parts], promote_options="default")
        for name in columns or ():
            if name not in joined.column_names:
                known = manifest.read(self.store, next(manifest.committed(self.store))).column_names
                raise DarkroomError(f"columns: {unknown(name, known, 'column of the records')}")
        return joined

    @property
    def failures(self) -> list[Record]:
        """Records without an image; `error` says why."""
        return to_records(self._where(pc.not_equal(pc.field("status"), OK)))

    def images(self, prompt: str | None = None, cell: str | None = None, **columns: Any) -> Iterator[Image.Image]:
        """Images in order of their shards, read as they are taken; `image.info["record"]` is what is said of each. Of
        a video it is the middle frame.

        `prompt`, `cell` (a cell_id) and any column of the records choose among them: `images(guidance_scale=4)`.
        Raises DarkroomError for an image that is not what was committed.
        """
        if cell is not None and cell not in self.cells:
            raise DarkroomError(f"cell: {unknown(str(cell), tuple(self.cells), 'cell of this run')}")
        if columns.get("status", OK) != OK:
            raise DarkroomError(
                f"status={columns['status']!r}: only images that are {OK} can be read; `failures` are the other records"
            )
        wanted = {"prompt": prompt, "cell_id": cell, **columns}
        return self._images({name: value for name, value in wanted.items() if value is not None} | {"status": OK})

    def _images(self, wanted: Mapping[str, Any]) -> Iterator[Image.Image]:
        for shard, table in read_each(self.store):
            for record in to_records(_filtered(as_in_cell(table, shard.cell_id, self.cells), wanted)):
                yield self._opened(record)

    def image(self, image_id: str) -> Image.Image:
        """The one of this id. Raises DarkroomError where there is none."""
        if not isinstance(image_id, str):
            raise DarkroomError(f"image_id={image_id!r}: give the id of an image, as its record has it")
        for found in self.images(image_id=image_id):
            return found
        raise DarkroomError(f"{self.store.describe()}: no image {image_id} is committed there")

    def frames(self, image_id: str) -> np.ndarray:
        """(num_frames, height, width, 3) uint8 RGB of the video of this id, as its file shows it. Raises DarkroomError
        where there is none."""
        if not self.info.output.video:
            raise DarkroomError(f"{self.store.describe()}: its images have no frames; take image({image_id!r})")
        return np.stack([*frames_of(self._file(self.image(image_id).info["record"]).data)])

    @property
    def figures(self) -> dict[str, dict[str, Figure]]:
        """cell_id -> figures by their names, such as demo_clip.clip_score; of several evaluations the latest's.

        A figure of an earlier evaluation that defines it otherwise, or has another reference, is left out, and so are
        cells that a sweep dropped early, which have but a part of their images.
        """
        found, dropped = self._latest(), dropped_cells(self.store)
        return {cell_id: found.figures(cell_id) for cell_id in self.cells if cell_id not in dropped}

    @property
    def controls(self) -> dict[str, dict[str, Figure]]:
        """Rows beside the cells' ("real", "shuffled prompts") -> figures by their names: floors and ceilings."""
        return {name: dict(control.figures) for name, control in self._latest().controls.items()}

    @property
    def metrics(self) -> dict[str, Metric]:
        """How each figure is defined, by its name."""
        return dict(self._latest().metrics)

    def status(self) -> RunStatus:
        found = states(self.store, self.info, self.cells)
        dropped = frozenset(dropped_cells(self.store) & found.keys())
        return RunStatus(found, dropped, tuple(equal_lines(self.store, self.cells, self.info)), spent(self.store))

    def evaluate(self, **options: Any) -> "EvaluationResult":
        """As `darkroom.evaluate`."""
        from darkroom.api.calls import evaluate

        return evaluate(self, **options)

    def report(self, **options: Any) -> "Report":
        """As `darkroom.report`."""
        from darkroom.api.calls import report

        return report(self, **options)

    def compare(self, other: "Run | str", **options: Any) -> "Comparison":
        """As `darkroom.compare`, with this run as the one that the other is measured against."""
        from darkroom.api.calls import compare

        return compare(self, other, **options)

    def find_copies(self, reference: str, **options: Any) -> "Copies":
        """As `darkroom.find_copies`."""
        from darkroom.api.calls import find_copies

        return find_copies(self, reference, **options)

    def rate(self, **options: Any) -> "RatingPage | Ratings":
        """As `darkroom.rate`."""
        from darkroom.api.calls import rate

        found: RatingPage | Ratings = rate(self, **options)
        return found

    def export(self, to: "str | Path", **options: Any) -> "Export":
        """As `darkroom.export`."""
        from darkroom.api.calls import export

        return export(self, to, **options)

    # How it shows itself -------------------------------------------------------------------------------------------

    def __hash__(self) -> int:
        return hash(self.uri)  # equal runs are in one place; their settings are mappings, which have no hash

    def __repr__(self) -> str:
        try:
            said = self._headline()
        except (DarkroomError, StoreError) as error:
            said = str(error)
        return f"<darkroom run {self.store.describe()}: {said}>"

    def _repr_html_(self) -> str:
        """A contact sheet, for a notebook; a sentence where there is no image yet."""
        try:
            images = [(file.record, file.pixels()) for file in _whole(first_images(self.store, _SHEET_IMAGES))]
            said, picture = self._headline(), _as_html(contact_sheet(images)) if images else ""
        except (DarkroomError, StoreError) as error:
            said, picture = str(error), ""
        return f"<div><p><b>{html.escape(self.store.describe())}</b>: {html.escape(said)}</p>{picture}</div>"

    def _headline(self) -> str:
        found = states(self.store, self.info, self.cells)
        status = RunStatus(found, frozenset(dropped_cells(self.store) & found.keys()), ())
        counts = ", ".join(f"{count} {name}" for name, count in status.by_status.most_common()) or "no image yet"
        done = "finished" if status.is_finished else f"{status.num_committed} of {status.num_shards} shards"
        cells = f"{len(self.cells)} cells" if len(self.cells) > 1 else self.info.prompts.name
        return f"{cells}, {counts}, {done}"

    def _latest(self) -> RunFigures:
        return latest_figures(read_evaluations(self.store), self.cells)

    def _where(self, expression: pc.Expression) -> pa.Table:
        return self.table(RECORD_SCHEMA.names).filter(expression)

    def _opened(self, record: Record) -> Image.Image:
        file = self._file(record)
        image = Image.fromarray(file.pixels()) if self.info.output.video else Image.open(io.BytesIO(file.data))
        image.info["record"] = record
        return image

    def _file(self, record: Record) -> StoredFile:
        [file] = stored_files(self.store, [record])
        if file.fault:
            place = self.store.describe(record.key or "")
            raise DarkroomError(f"image {record.image_id} ({place}): {file.fault}; repair the run")
        return file


def open_run(uri: "str | Run", endpoint_url: str | None = None, name: str = "run") -> Run:
    """The run at a folder or an s3:// address, which errors call `name`. Raises DarkroomError where there is none."""
    if isinstance(uri, Run):
        if endpoint_url is not None and checked_endpoint(endpoint_url) != uri.store.spec.endpoint_url:
            there = uri.store.spec.endpoint_url or "no endpoint of its own"
            raise DarkroomError(
                f"endpoint_url={endpoint_url}: the run {uri.uri} is open already, with {there}; leave it out"
            )
        return uri
    store = store_at(str(uri), endpoint_url, name)
    return Run(store, *open_whole(store))


def endpoints(endpoint_url: str | None, *places: "str | Run | None") -> list[str | None]:
    """Whose endpoint it is: of the addresses in an object store; where none is one, of all, which then refuse it.

    Where none is given, an address has that of an open run beside it whose address has the same scheme.
    """
    takes = [isinstance(place, str) and is_remote(place) for place in places]
    if endpoint_url is None:
        opened = {_scheme(place.uri): place.store.spec.endpoint_url for place in places if isinstance(place, Run)}
        return [opened.get(_scheme(str(place))) if taken else None for taken, place in zip(takes, places, strict=True)]
    return [endpoint_url if taken or not any(takes) else None for taken in takes]


def _scheme(uri: str) -> str:
    """Empty for a folder."""
    return uri.rpartition("://")[0]


def store_at(uri: str, endpoint_url: str | None, name: str = "run") -> Store:
    """The store at an address, which can be read. Raises DarkroomError where it cannot."""
    with _named_as(name):
        store = open_store(parse_spec(uri, endpoint_url))
        store.check(writing=False)
    return store


def cell_address(given: str) -> tuple[str, str | None]:
    """(address of a run, cell_id) of `run#cell_id`; None of a run alone."""
    match = _CELL.fullmatch(given)
    return (match[1], match[2]) if match else (given, None)


def chosen_cells(run: Run, named: Sequence[str] | None) -> list[str]:
    """cell_ids: those that are named, or all that no sweep dropped early. Raises DarkroomError for one that is not
    there."""
    if named is None:
        dropped = dropped_cells(run.store)
        return [cell_id for cell_id in run.cells if cell_id not in dropped]
    for cell_id in named:
        if cell_id not in run.cells:
            raise DarkroomError(f"cells: {unknown(cell_id, tuple(run.cells), 'cell of this run')}")
    return list(named)


def check_writable(run: Run) -> None:
    """Raises DarkroomError where nothing can be stored beside the run."""
    with _named_as("run"):
        run.store.check()


@contextmanager
def _named_as(name: str) -> Iterator[None]:
    """A store speaks of where a run goes, and who opens one calls it `run`, or another name."""
    try:
        yield
    except DarkroomError as error:
        raise type(error)(str(error).replace("output.uri", name).replace("output.endpoint", "endpoint")) from None


def _filtered(table: pa.Table, wanted: Mapping[str, Any]) -> pa.Table:
    """Rows of which each of these columns has this value."""
    for name, value in wanted.items():
        if name not in table.column_names:
            raise DarkroomError(unknown(name, table.column_names, "column of the records"))
        try:
            table = table.filter(pc.equal(table[name], pa.scalar(value)))
        except pa.ArrowException as error:
            kind = table.schema.field(name).type
            raise DarkroomError(f"{name}={value!r}: the column is {kind}; give a value of that type") from error
    return table


def _whole(files: Sequence[StoredFile]) -> list[StoredFile]:
    return [file for file in files if not file.fault]


def _as_html(png: bytes) -> str:
    """A picture that needs no file beside it."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).save(buffer, "WEBP", quality=_QUALITY)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="contact sheet" style="max-width:100%" src="data:image/webp;base64,{data}">'
