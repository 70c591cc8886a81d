"""Chooses how a reference is read, by what lies at its address. A cheap look: no image decoded, no network loaded."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from pyarrow import fs

from darkroom.domain.errors import DarkroomError
from darkroom.references import statistics
from darkroom.references.decoding import ENDINGS
from darkroom.references.drawings import DEMO, demo_reference
from darkroom.references.files import File, Place, find, locate
from darkroom.references.folders import folder_reference
from darkroom.references.reference import Reference, ReferenceSpec, check_count
from darkroom.references.run_images import run_reference
from darkroom.references.tables import parquet_reference
from darkroom.references.tars import tar_reference
from darkroom.runs.keys import RUN_KEY, parse_manifest_key

_NEEDED = "give demo, a folder or glob of images, .tar, .parquet, an .npz, or the folder of a run"
_READERS: Mapping[str, Callable[[str, Sequence[File], str | None], Reference]] = {
    **dict.fromkeys(sorted(ENDINGS), folder_reference),
    ".tar": tar_reference,
    ".parquet": parquet_reference,
}


def open_reference(spec: ReferenceSpec) -> Reference:
    """What the text names: that it is there, its kind, and its number of images where that is known without reading.

    Raises DarkroomError in one line, with the remedy.
    """
    if spec.text == DEMO:
        return demo_reference()
    if not spec.text.strip():
        raise DarkroomError(f"reference is empty; {_NEEDED}")
    place = locate(spec.text, spec.endpoint_url)
    if place.holds(RUN_KEY):
        return run_reference(spec.text, place.store, None)
    return _of_cell(spec, place) or _of_files(spec, place)


def _of_cell(spec: ReferenceSpec, place: Place) -> Reference | None:
    """`run#cell_id`, unless something has that very name."""
    uri, sign, cell_id = spec.text.rpartition("#")
    if not sign or not uri or place.type != fs.FileType.NotFound:
        return None
    run = locate(uri, spec.endpoint_url)
    return run_reference(spec.text, run.store, cell_id) if run.holds(RUN_KEY) else None


def _check_is_no_run(spec: ReferenceSpec, place: Place, files: Sequence[File]) -> None:
    """A run whose description is lost is no folder of images: some may be of no shard, or of another cell."""
    below = len(place.path) + 1
    if any(parse_manifest_key(file.path[below:]) for file in files if file.ending == ".parquet"):
        raise DarkroomError(
            f"reference {spec.text}: {RUN_KEY} is missing, and shards are committed there; restore it, or give the "
            "command that started the run again, which writes it anew"
        )


def _check_are_files(files: Sequence[File]) -> None:
    """An image that is named and cannot be had is not left out in silence."""
    for file in files:
        if file.size_bytes < 0:
            raise DarkroomError(f"reference {file.name}: a pipe, or a link that leads nowhere; mend or remove it")


def _of_files(spec: ReferenceSpec, place: Place) -> Reference:
    files = find(place)
    _check_is_no_run(spec, place, files)
    if len(files) == 1 and files[0].ending == statistics.ENDING:
        return statistics.statistics_reference(spec.text, files[0])
    by_reader: dict[Callable, list[File]] = {}
    for file in files:
        if file.ending in _READERS:
            by_reader.setdefault(_READERS[file.ending], []).append(file)
    if not by_reader:
        found = f"{len(files)} files there, and none is of images" if files else "nothing is there"
        raise DarkroomError(f"reference {spec.text}: {found}; {_NEEDED}")
    if len(by_reader) > 1:
        endings = [file.ending for group in by_reader.values() for file in group]
        raise DarkroomError(
            f"reference {spec.text}: it holds {_counted(endings)}; name one kind of them, as folder/**/*{min(endings)}"
        )
    reader, chosen = by_reader.popitem()
    _check_are_files(chosen)
    reference = reader(spec.text, chosen, spec.endpoint_url)
    if reference.num_images is not None:
        check_count(reference.name, reference.num_images)
    return replace(reference, left_out=_counted(file.ending for file in files if file.ending not in _READERS))


def _counted(endings: Iterable[str]) -> str:
    return ", ".join(f"{count} {ending or 'without an ending'}" for ending, count in sorted(Counter(endings).items()))
