"""The cells of a run, one small file each: a sweep grows by adding files, and none is ever changed.

And what sweeps chose early among them, by successive halving: which cells they dropped, when, why and how.
"""

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from darkroom.domain.errors import DarkroomError, first_line
from darkroom.domain.identity import Cell, ModelIdentity
from darkroom.domain.setting_values import as_said
from darkroom.domain.settings import COMMON_AXES, SETTINGS, ModelRef, Sampling, Setting, settings_of
from darkroom.runs.files import CELLS_PREFIX, CHOICES_KEY, cell_key, from_json, parse_cell_key, to_json
from darkroom.runs.run import RunInfo
from darkroom.storage.store import NotFound, Store, prefetched


@dataclass(frozen=True)
class CellInfo:
    """A cell, and how its model was named: enough to load it again."""

    ref: ModelRef
    cell: Cell

    @property
    def model_name(self) -> str:
        """As the user named it; of a renderer of one's own, as it calls itself."""
        return self.ref.repo_id or self.cell.model.repo_id

    @property
    def headline(self) -> str:
        """Its usual settings, such as "20 steps of ddim, guidance 5, 64x64"."""
        sampling, said = self.cell.sampling, self.cell.model.said_of(self.cell.sampling)
        parts = {
            "num_inference_steps": f"{sampling.num_inference_steps} steps of {sampling.scheduler}",
            "guidance_scale": f"guidance {sampling.guidance_scale:g}",
            "height": f"{sampling.width}x{sampling.height}",
        }
        return ", ".join(text for name, text in parts.items() if name in said)

    @property
    def settings(self) -> dict[str, object]:
        """What tells this cell from others, by the names that a command uses, in the order that sorts cells."""
        sampling = asdict(self.cell.sampling)
        names = [name for name in sampling if name not in COMMON_AXES]
        return {
            **{f"model.{each.name}": self._of_model(each) for each in settings_of(ModelRef)},
            **{f"sampling.{name}": sampling[name] for name in (*names, *reversed(COMMON_AXES))},
        }

    def _of_model(self, setting: Setting) -> object:
        """As the model was found; what its identity does not say, as it was named."""
        if setting.is_part:
            return self.cell.model.text_of(setting.name)
        return getattr(self.cell.model, setting.name, getattr(self.ref, setting.name))

    def settings_in(self, run: RunInfo) -> dict[str, object]:
        """The same, with the run's value of what the cell says nothing of."""
        shared = {"sampling.seed": run.seed, "sampling.num_images_per_prompt": run.num_images_per_prompt}
        return {name: shared.get(name) if value is None else value for name, value in self.settings.items()}


def read_cells(store: Store) -> dict[str, CellInfo]:
    """cell_id -> cell, in the order of `in_order`."""
    keys = (info.key for info in store.list(CELLS_PREFIX))
    return in_order(dict(prefetched(keys, lambda key: (parse_cell_key(key), _parse(store, key)))))


def cell_ids(store: Store) -> set[str]:
    """Names of the run's cells, from a listing alone."""
    return {parse_cell_key(info.key) for info in store.list(CELLS_PREFIX)}


def in_order(cells: Mapping[str, CellInfo]) -> dict[str, CellInfo]:
    """By their settings, numbers rising: guidance changes fastest, then steps, then scheduler; models slowest."""
    return dict(sorted(cells.items(), key=lambda item: [_rank(value) for value in item[1].settings.values()]))


def cell_of(cells: Mapping[str, CellInfo], cell_id: str) -> Cell:
    """Raises DarkroomError where a manifest or a record names a cell that the run does not have."""
    if cell_id not in cells:
        raise DarkroomError(f"{cell_key(cell_id[:64])} is missing, and committed images name it; restore it")
    return cells[cell_id].cell


def add_cells(store: Store, cells: Mapping[str, CellInfo]) -> None:
    """Write those that are not there yet. All are put: that makes also what is there outlast a power cut."""
    for cell_id, info in cells.items():
        store.put_if_absent(cell_key(cell_id), _dump(info), "application/json")


def axes(cells: Iterable[CellInfo], run: RunInfo) -> dict[str, list[object]]:
    """The settings in which cells of a run differ, with their values in order of first appearance."""
    values: dict[str, list[object]] = {}
    for info in cells:
        for name, value in info.settings_in(run).items():
            known = values.setdefault(name, [])
            if value not in known:
                known.append(value)
    return {name: known for name, known in values.items() if len(known) > 1}


def axis_lines(cells: Iterable[CellInfo], run: RunInfo) -> Iterator[str]:
    """Each axis with its values, for people, in the words of a command."""
    for name, values in axes(cells, run).items():
        nothing = "[]" if SETTINGS[name.partition(".")[2]].is_list else as_said(None)
        said = ", ".join(nothing if value is None else as_said(value) for value in values)
        yield f"{name}: {said}"


def lossless_of(cells: Mapping[str, CellInfo]) -> dict[str, str | None]:
    """cell_id of each cell with lossy settings -> that of the same without; None where it is not there."""
    lossy = {cell_id: info.cell.lossless for cell_id, info in cells.items() if info.cell.lossy}
    return {
        cell_id: next((cell.cell_id for cell in others if cell.cell_id in cells), None)
        for cell_id, others in lossy.items()
    }


def nearest_difference(cells: Iterable[CellInfo], wanted: CellInfo) -> tuple[str, object, object] | None:
    """(setting, its value there, its value here) in which a cell differs from the most similar of others."""
    found = sorted((_differences(info, wanted) for info in cells), key=len)
    return found[0][0] if found and found[0] else None


def _rank(value: object) -> tuple[bool, int | float, str]:
    """Numbers before texts, and what is not set before both."""
    if isinstance(value, int | float):
        return False, value, ""
    return value is not None, -math.inf, str(value or "")


def _differences(found: CellInfo, wanted: CellInfo) -> list[tuple[str, object, object]]:
    here = wanted.settings
    return [(name, value, here[name]) for name, value in found.settings.items() if value != here[name]]


def _dump(info: CellInfo) -> bytes:
    return to_json(
        {"model": asdict(info.ref), "identity": asdict(info.cell.model), "sampling": info.cell.sampling.effective}
    )


def _parse(store: Store, key: str) -> CellInfo:
    try:
        value = json.loads(store.get(key))
        cell = Cell(from_json(ModelIdentity, value["identity"]), from_json(Sampling, value["sampling"]))
        info = CellInfo(from_json(ModelRef, value["model"]), cell)
    except (ValueError, KeyError, TypeError) as error:
        raise DarkroomError(
            f"{store.describe(key)}: not readable as a cell ({first_line(error)}); restore it, or use another "
            "output.uri"
        ) from error
    _check_is_named_by_content(store, key, info)
    return info


def _check_is_named_by_content(store: Store, key: str, info: CellInfo) -> None:
    if info.cell.cell_id != parse_cell_key(key):
        raise DarkroomError(
            f"{store.describe(key)}: what it says is not the cell that its name says, so it was edited or mixed up; "
            "restore it, or remove it and give the command that made it again"
        )


# Early choices -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dropped:
    """A cell that was not rendered to its end."""

    cell_id: str
    round: int  # from 1
    num_rounds: int
    num_images: int  # of the cell, that the choice was made from
    figure: str  # such as demo_clip.clip_score
    value: float
    rank: int  # from 1
    num_cells: int  # that were ranked
    num_kept: int


@dataclass(frozen=True)
class Halving:
    """One sweep's early choice: what its command said of it, and the cells that it was among."""

    options: Mapping[str, object]  # of `halving`, by their names
    evaluation: Mapping[str, object]  # of `evaluation` likewise
    cell_ids: Sequence[str]
    kept: Sequence[str]  # those that were not dropped; all of them until the choice is made
    fault: str = ""  # why no cell could be dropped; empty where cells could be


@dataclass(frozen=True)
class Choices:
    """All of a run's."""

    dropped: Sequence[Dropped] = ()
    halvings: Sequence[Halving] = field(default=())  # oldest first


def put_choices(
    store: Store, chosen_from: Collection[str], dropped: Sequence[Dropped], halving: Halving | None = None
) -> None:
    """What a sweep dropped of its cells, and by which halving, if by any. What earlier sweeps dropped stays, but for
    cells that are in this one too, and so do their halvings, but for those of which all cells are in this one.

    Raises DarkroomError where what is there cannot be read: it is not thrown away.
    """
    taken = set(halving.cell_ids if halving else chosen_from)
    while True:
        before = _stored(store)
        earlier = _parsed_choices(store, before)
        others = [item for item in earlier.dropped if item.cell_id not in chosen_from]
        halvings = [item for item in earlier.halvings if not taken.issuperset(item.cell_ids)]
        text = to_json(asdict(Choices([*others, *dropped], [*halvings, *([halving] if halving else [])])))
        if before is None:
            done = store.put_if_absent(CHOICES_KEY, text, "application/json")
        else:
            done = store.replace(CHOICES_KEY, text, before, "application/json")
        if done:  # else another sweep of this run came between
            return


def read_choices(store: Store) -> Choices:
    """Empty where every cell was rendered to its end. Raises DarkroomError for a file that holds no choices."""
    return _parsed_choices(store, _stored(store))


def dropped_cells(store: Store) -> set[str]:
    """cell_ids."""
    return {item.cell_id for item in read_choices(store).dropped}


def _stored(store: Store) -> bytes | None:
    try:
        return store.get(CHOICES_KEY)
    except NotFound:
        return None


def _parsed_choices(store: Store, data: bytes | None) -> Choices:
    try:
        return Choices() if data is None else _choices(json.loads(data))
    except (ValueError, TypeError, KeyError) as error:
        reason = first_line(error)
        raise DarkroomError(
            f"{store.describe(CHOICES_KEY)}: not readable as a sweep's early choices ({reason}); "
            "remove it, and give the command of the sweep with halving again: it makes the same choices from the "
            "images that are there"
        ) from error


def _choices(value: Any) -> Choices:
    """Version 0.1 wrote a list of what was dropped, alone."""
    if isinstance(value, list):
        return Choices([from_json(Dropped, item) for item in value])
    dropped = [from_json(Dropped, item) for item in value["dropped"]]
    return Choices(dropped, [from_json(Halving, item) for item in value["halvings"]])
