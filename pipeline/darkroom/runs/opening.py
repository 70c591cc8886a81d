"""Starts a run, or opens one that is there, and holds its parts against each other: run.json, its cells, its shards.

A shard's name is a digest of its cell, its prompts and its rows, so a listing tells whether all are of the run in
run.json. What no name says, every manifest carries, and one of them is asked.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import Cell, Shard, planned_shard
from darkroom.runs import manifest
from darkroom.runs.cells import CellInfo, add_cells, axes, cell_ids, nearest_difference, read_cells
from darkroom.runs.files import CELLS_PREFIX, RUN_KEY, cell_key, manifest_key
from darkroom.runs.run import (
    FINGERPRINT,
    RunInfo,
    check_same,
    create_or_check,
    find_run,
    fixed,
    from_metadata,
    open_run,
)
from darkroom.storage.store import Store

_LATER = ("provenance", "own_columns")  # fields of OutputInfo by which the files of older runs are others
_CELLS_SHOWN = 4
OlderCells = Mapping[str, Collection[Cell]]  # cell_id -> what an older version could make of the same words


def open_whole(store: Store) -> tuple[RunInfo, dict[str, CellInfo]]:
    """The run at this store, and its cells by cell_id.

    Raises DarkroomError where there is none, and where run.json, the cells' files and the shards are not of one run.
    """
    run = find_run(store)
    if run is None:
        if next(manifest.committed(store), None):
            raise DarkroomError(
                f"{store.describe()}: {RUN_KEY} is missing, and shards are committed there; restore it, or give the "
                "command that started the run again, which writes it anew"
            )
        return open_run(store), {}
    _check_settings(store, run)
    named = {found.cell_id for found in shards_of(store, run)}
    cells = read_cells(store)  # after the shards: a sweep writes a cell before its first shard
    _check_known(store, named, cells)
    return run, cells


def chosen_cell(name: str, run: RunInfo, cells: Mapping[str, CellInfo], cell_id: str | None) -> str:
    """The cell that a user means by a run's `name`, such as `run#cell_id`; None: the only one.

    Raises DarkroomError that names cells where there is none, or several.
    """
    if cell_id is None and len(cells) == 1:
        return next(iter(cells))
    if cell_id is not None and cell_id in cells:
        return cell_id
    place = name if cell_id is None else name.removesuffix(f"#{cell_id}")
    problem = f"the run has {len(cells)} cells" if cell_id is None else f"the run has no cell {cell_id}"
    differing = axes(cells.values(), run)
    told = [f"{each} ({_said(info.settings_in(run), differing)})" for each, info in list(cells.items())[:_CELLS_SHOWN]]
    more = [f"{len(cells) - _CELLS_SHOWN} more"] if len(cells) > _CELLS_SHOWN else []
    raise DarkroomError(f"{problem}; write {place}#<cell_id> with one of {', '.join(told + more)}")


def _said(settings: Mapping[str, object], differing: Iterable[str]) -> str:
    return ", ".join(f"{name}={settings[name]}" for name in differing) or "its only cell"


def claim(
    store: Store,
    wanted: RunInfo,
    cells: Mapping[str, CellInfo],
    older_fingerprint: str | None = None,
    older_cells: OlderCells = MappingProxyType({}),
    etag_fingerprints: Callable[[], Mapping[str, str]] = dict,
) -> RunInfo:
    """Start the run, or go on with the one that is there, and add these cells to it.

    `older_fingerprint` is that of the prompts by a version that did not know all columns of now, and `older_cells` are
    the cells that one with other defaults made of the same command. `etag_fingerprints` gives what each of the two
    fingerprints was to a version that knew objects in S3 by their ETags; it is asked where they are not the run's.

    What tells runs apart is one conditional write, so of two different commands at once one is refused. A lost run.json
    or cell is written anew by the command that made it, and by no other. Raises DarkroomError that names what differs.
    """
    found = find_run(store)
    wanted = replace(wanted, output=replace(wanted.output, **_not_said(store, found)))  # its files stay alike
    there = _fingerprint_there(store, found)
    if there not in (None, wanted.prompts.fingerprint, older_fingerprint):
        by_etag = etag_fingerprints()
        if there in by_etag.values():
            prompts = replace(wanted.prompts, fingerprint=by_etag[wanted.prompts.fingerprint])
            wanted, older_fingerprint = replace(wanted, prompts=prompts), by_etag.get(older_fingerprint or "")
    wanted = _as_older(store, found or wanted, wanted, older_fingerprint)
    if found:
        check_same(store, found, wanted)
    _check_settings(store, found or wanted)
    has_new = found is None or bool(cells.keys() - cell_ids(store))
    named = {each.cell_id for each in shards_of(store, found or wanted)} if has_new else set()
    known = read_cells(store)  # after the shards, as in `open_whole`
    if found is None or not found.version:
        _check_defaults(store, {*named, *known}, cells, older_cells)
    _check_known(store, named, {**known, **cells})
    run = create_or_check(store, wanted)
    if wanted.cell_id:
        _check_only_cell(store, run, known, cells[wanted.cell_id])
    add_cells(store, cells)
    return run


def shards_of(store: Store, run: RunInfo) -> Iterator[Shard]:
    """The committed shards, from a listing alone. Raises DarkroomError for one that this run does not have."""
    for found in manifest.committed(store):
        if found != _planned(run, found.cell_id, found.start):
            run = find_run(store) or run  # which another command may have grown meanwhile
            if found != _planned(run, found.cell_id, found.start):
                raise _foreign(store, run, found)
        yield found


def _fingerprint_there(store: Store, found: RunInfo | None) -> object:
    """Of the prompts of a run, or of what is left of it; None where nothing says it."""
    if found:
        return found.prompts.fingerprint
    first = next(manifest.committed(store), None)
    return from_metadata(manifest.metadata(store, first)).get(FINGERPRINT) if first else None


def _not_said(store: Store, found: RunInfo | None) -> dict[str, Any]:
    """What a run, or what is left of it, does not say of its output, since its version is older than that."""
    if found:
        return {name: None for name in _LATER if getattr(found.output, name) is None}
    first = next(manifest.committed(store), None)
    said = from_metadata(manifest.metadata(store, first)) if first else {}
    return {name: None for name in _LATER if first and f"output.{name}" not in said}


def _as_older(store: Store, run: RunInfo, wanted: RunInfo, older_fingerprint: str | None) -> RunInfo:
    """Wanted with the fingerprint of a run whose version carried a column unread that could be read now.

    Raises DarkroomError where the command would read it: one run cannot do both.
    """
    first = next(manifest.committed(store), None)
    carried = manifest.carried_settings(store, first) if first else []
    if first is None or not carried or run.prompts.fingerprint != older_fingerprint:
        return wanted
    if wanted.prompts.fingerprint == older_fingerprint:
        remedy = " ".join(f"prompts.columns.{name}=null" for name in carried)
        raise DarkroomError(
            f"{store.describe(manifest_key(first))}: the prompts' column {carried[0]!r} was not read as a setting when "
            f"this run began, and is now; go on with {remedy}, or use another output.uri"
        )
    return replace(wanted, prompts=replace(wanted.prompts, fingerprint=older_fingerprint))


def _planned(run: RunInfo, cell_id: str, start: int) -> Shard | None:
    """The shard that a run has from this row on; None where none begins there."""
    part = next((each for each in run.parts if each.start <= start < each.stop), None)
    if part is None or start % run.shard_size:
        return None
    return planned_shard(cell_id, part.fingerprint, start, min(start + run.shard_size, part.stop))


def _foreign(store: Store, run: RunInfo, found: Shard) -> DarkroomError:
    what = f"{run.prompts.num_rows} prompts {run.prompts.fingerprint[:12]} in shards of {run.shard_size}"
    return DarkroomError(
        f"{store.describe(manifest_key(found))}: prompt rows {found.start} to {found.stop - 1} are no shard of "
        f"{_whose(store)} ({what}); restore {RUN_KEY}, give the command that the run was started with, or use another "
        "output.uri"
    )


def _whose(store: Store) -> str:
    return f"the run in {RUN_KEY}" if find_run(store) else f"this command's run, and {RUN_KEY} is lost"


def _check_settings(store: Store, run: RunInfo) -> None:
    """One committed shard is asked for what fixed it; one that is older than this answers nothing."""
    first = next(manifest.committed(store), None)
    then = from_metadata(manifest.metadata(store, first)) if first else {}
    for name, value in fixed(run).items():
        if first and then.get(name, value) != value:
            raise DarkroomError(
                f"{store.describe(manifest_key(first))}: {name} was {then[name]!r} when it was committed, and is "
                f"{value!r} in {_whose(store)}; restore {RUN_KEY}, or use another output.uri"
            )


def _check_defaults(
    store: Store, there: Collection[str], cells: Mapping[str, CellInfo], older_cells: OlderCells
) -> None:
    """Refuse a command that left a setting to a default when the run began, which is another one now."""
    for cell_id, others in older_cells.items():
        before = next((cell for cell in others if cell.cell_id in there), None)
        if before and cell_id not in there:
            raise older_defaults(store.describe(cell_key(before.cell_id)), before, cells[cell_id].cell)


def older_defaults(place: str, before: Cell, now: Cell) -> DarkroomError:
    """What is said of a run that goes on with the defaults that it was begun with alone."""
    differing = [name for name, value in vars(now.sampling).items() if value != getattr(before.sampling, name)]
    words = " ".join(f"sampling.{name}={getattr(before.sampling, name)}" for name in differing)
    said = ", ".join(f"{name} {getattr(now.sampling, name)}" for name in differing)
    return DarkroomError(
        f"{place}: this run was begun with {words}, which was the default then, and the model's own is {said}; go on "
        f"with {words}, or use another output.uri"
    )


def _check_known(store: Store, named: Collection[str], cells: Collection[str]) -> None:
    for cell_id in sorted(set(named) - set(cells)):
        raise DarkroomError(
            f"{store.describe(cell_key(cell_id))}: missing, and committed shards are of this cell; restore it, or give "
            "the command that made it again"
        )


def _check_only_cell(store: Store, run: RunInfo, known: Mapping[str, CellInfo], wanted: CellInfo) -> None:
    """Refuse a plain job whose one cell is none of the run's: its folder holds something else."""
    is_first = run.cell_id == wanted.cell.cell_id or (run.cell_id is None and not known)
    if is_first or wanted.cell.cell_id in known:
        return
    remedy = "use another output.uri, or add cells to a run with `darkroom sweep`"
    difference = nearest_difference(known.values(), wanted)
    if difference is None:
        what = f"of cell {run.cell_id}" if run.cell_id else "a sweep"
        raise DarkroomError(
            f"{store.describe(RUN_KEY)}: this run is {what}, and the command's cell is {wanted.cell.cell_id}; {remedy}"
        )
    name, there, here = difference
    raise DarkroomError(
        f"{store.describe(CELLS_PREFIX)}: {name} is {there!r} in this run and {here!r} in the command; go on with the "
        f"run's own value, {remedy}"
    )
