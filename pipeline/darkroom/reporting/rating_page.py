"""The page of blind pairs: files that open from a disk, and say nothing of where an image comes from.

Images are encoded anew from their pixels, since image files say in text what made them, and are named by their pair's
place and their side. A pair that comes again has files of its own.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import Record
from darkroom.reporting.pictures import cut
from darkroom.reporting.publishing import INDEX, put_file
from darkroom.runs.commands import on_run
from darkroom.runs.encoding import EXTENSIONS, encode
from darkroom.runs.images import by_key, stored_files
from darkroom.runs.ratings import Study
from darkroom.storage.store import NotFound, Store, prefetched

_PAIRS = "pairs.js"
_SIDES = ("left", "right")
_QUALITY = 95  # of WebP and JPEG
_NUM_READERS = 4  # threads, each with one object in memory

Records = Mapping[str, tuple[Store, Record]]  # by image_id


def write_page(study: Study, records: Records, store: Store, prefix: str) -> tuple[str, int]:
    """The address of index.html, which is put last, and the bytes of all images.

    The same study goes on where it broke off. Raises DarkroomError where another page lies there, and for an image
    that is not what was committed.
    """
    pairs = _data(study)
    _check_is_free(store, prefix, pairs)
    put_file(_PAIRS, pairs, store, prefix)
    names = _names(study)
    groups = prefetched(
        _by_object(records), lambda group: _put_images(*group, names, study.image_format, store, prefix), _NUM_READERS
    )
    num_bytes = sum(groups)
    for name, folder in {"rating.js": "assets", "rating.css": "assets"}.items():
        put_file(name, (files("darkroom.reporting") / folder / name).read_bytes(), store, prefix)
    put_file(INDEX, (files("darkroom.reporting") / "templates" / "rating.html").read_bytes(), store, prefix)
    return store.describe(prefix + INDEX), num_bytes


def _data(study: Study) -> bytes:
    """All that a rater's browser is told. A script, since a page on a disk may read no other file."""
    pairs = [
        {"prompt": cut(pair.prompt), **{side: _name(study, place, side) for side in _SIDES}}
        for place, pair in enumerate(study.pairs)
    ]
    value = {"id": study.study_id, "question": study.question, "pairs": pairs}
    return f'"use strict";\nconst study = {json.dumps(value, separators=(",", ":"))};\n'.encode()


def _name(study: Study, place: int, side: str) -> str:
    return f"images/{place + 1:05d}-{side}.{EXTENSIONS[study.image_format]}"


def _check_is_free(store: Store, prefix: str, pairs: bytes) -> None:
    for name in (_PAIRS, INDEX):
        try:
            there = store.get(prefix + name)
        except NotFound:
            continue
        if name == _PAIRS and there == pairs:
            return
        raise DarkroomError(
            f"{store.describe(prefix + name)}: there already, and of no page of these pairs; name another output.uri, "
            "or remove it"
        )


def _by_object(records: Records) -> Iterator[tuple[Store, Sequence[Record]]]:
    """Records by the object that their images lie in."""
    stores = {store.spec.uri: store for store, _ in records.values()}
    for uri, store in stores.items():
        own = [record for other, record in records.values() if other.spec.uri == uri]
        yield from ((store, group) for group in by_key(own).values())


def _names(study: Study) -> dict[str, list[str]]:
    """image_id -> the files that show it."""
    found: dict[str, list[str]] = {}
    for place, pair in enumerate(study.pairs):
        for side in _SIDES:
            found.setdefault(getattr(pair, side).image_id, []).append(_name(study, place, side))
    return found


def _put_images(
    source: Store,
    group: Sequence[Record],
    names: Mapping[str, Sequence[str]],
    image_format: str,
    store: Store,
    prefix: str,
) -> int:
    """Bytes that were put."""
    num_bytes = 0
    for file in stored_files(source, group):
        if file.fault:
            place = source.describe(file.record.key or "")
            raise DarkroomError(f"{place}: {file.fault}; bring it back with `{on_run('repair', source.spec)}`")
        data = encode(file.pixels(), image_format, _QUALITY)
        for name in names[file.record.image_id]:
            put_file(name, data, store, prefix)
            num_bytes += len(data)
    return num_bytes
