"""Chooses how a reference is read, by what lies at its address: no image is decoded, no network loaded."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pyarrow import fs

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.moments import from_npz
from darkroom.evaluation.reference import (
    IMAGE_ENDINGS,
    Reference,
    ReferenceSpec,
    Statistics,
    check_count,
)
from darkroom.evaluation.reference_generated import DEMO, demo_reference, run_reference
from darkroom.evaluation.reference_images import folder_reference, parquet_reference, tar_reference
from darkroom.runs.files import RUN_KEY, parse_manifest_key, parse_segment_key
from darkroom.storage.input_files import InputFile
from darkroom.storage.scanning import Kinds, Place, locate, scan
from darkroom.storage.store import Store, open_store, parse_spec

_NEEDED = "give demo, a folder or glob of images, .tar, .parquet, an .npz, or the folder of a run"
_STATISTICS = ".npz"
_READERS: Mapping[str, Callable[[str, Sequence[InputFile], str | None], Reference]] = {
    **dict.fromkeys(sorted(IMAGE_ENDINGS), folder_reference),
    ".tar": tar_reference,
    ".parquet": parquet_reference,
}


def _statistics_beside(files: Sequence[InputFile]) -> list[InputFile]:
    return [file for file in files if file.ending == _STATISTICS] if len(files) > 1 else []


_KINDS = Kinds(
    frozenset([*_READERS, _STATISTICS]),
    "images",
    exclude=_statistics_beside,
    exclude_reason="statistics beside other files",
)


def open_reference(spec: ReferenceSpec) -> Reference:
    """What the text names: that it is there, its kind, and its number of images where that is known without reading.

    Raises DarkroomError in one line, with the remedy.
    """
    if spec.text == DEMO:
        return demo_reference()
    if not spec.text.strip():
        raise DarkroomError(f"reference is empty; {_NEEDED}")
    place = _locate(spec, spec.text)
    if place.holds(RUN_KEY):
        return run_reference(spec.text, _store(spec, spec.text), None)
    return _of_cell(spec, place) or _of_files(spec, place)


def _locate(spec: ReferenceSpec, uri: str) -> Place:
    return locate(uri, spec.endpoint_url, "reference", "reference_endpoint_url")


def _store(spec: ReferenceSpec, uri: str) -> Store:
    return open_store(parse_spec(uri, spec.endpoint_url))


def _of_cell(spec: ReferenceSpec, place: Place) -> Reference | None:
    """`run#cell_id`, unless something has that very name."""
    uri, sign, cell_id = spec.text.rpartition("#")
    if not sign or not uri or place.type != fs.FileType.NotFound:
        return None
    return run_reference(spec.text, _store(spec, uri), cell_id) if _locate(spec, uri).holds(RUN_KEY) else None


def _of_files(spec: ReferenceSpec, place: Place) -> Reference:
    found = scan(place, _KINDS)
    _check_is_no_run(spec, place, found.files)
    if [file.ending for file in found.files] == [_STATISTICS]:
        return _statistics_reference(spec.text, found.files[0])
    by_reader: dict[Callable[..., Reference], list[InputFile]] = {}
    for file in found.files:
        if file.ending in _READERS:
            by_reader.setdefault(_READERS[file.ending], []).append(file)
    if not by_reader:
        others = [*found.left_out, *(f"{file.name} is not of images by its ending" for file in found.files)]
        problem = "; ".join(["no image is there", *others]) if others else "nothing is there"
        raise DarkroomError(f"reference {spec.text}: {problem}; {_NEEDED}")
    if len(by_reader) > 1:
        counts = sorted(Counter(file.ending for file in found.files).items())
        kinds = ", ".join(f"{count} {ending}" for ending, count in counts)
        raise DarkroomError(
            f"reference {spec.text}: it holds {kinds}; name one kind of them, as folder/**/*{counts[0][0]}"
        )
    reader, chosen = by_reader.popitem()
    reference = reader(spec.text, chosen, spec.endpoint_url)
    if reference.num_images is not None:
        check_count(reference.name, reference.num_images)
    return replace(reference, left_out=found.left_out)


def _check_is_no_run(spec: ReferenceSpec, place: Place, files: Sequence[InputFile]) -> None:
    """A run whose description is lost is no folder of images: some may be of no shard, or of another cell."""
    below = len(place.path) + 1
    names = [file.path[below:] for file in files if file.ending == ".parquet"]
    if any(parse_manifest_key(name) or parse_segment_key(name) for name in names):
        run_reference(spec.text, _store(spec, spec.text), None)  # which says what is missing


def _statistics_reference(name: str, file: InputFile) -> Reference:
    data = file.read()
    gaussian = from_npz(data, f"reference {file.name}")
    return Reference(name, "statistics", None, Statistics(hashlib.sha256(data).hexdigest(), gaussian))
