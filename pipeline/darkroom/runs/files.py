"""The files of a run: their names, and JSON to frozen values and back.

Only digests, row numbers and fixed words become names: nothing that a user wrote.
"""

import json
import re
from collections.abc import Mapping
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from darkroom.domain.identity import Shard

T = TypeVar("T")

RUN_KEY = "run.json"
CHOICES_KEY = "choices.json"
CONTACT_SHEET_KEY = "contact_sheet.png"
IMAGES_PREFIX = "images/"
TRAJECTORIES_PREFIX = "trajectories/"  # pictures of how some images formed
SIDECARS_PREFIX = "sidecars/"  # a shard's signed manifests in one object, where its images are in one
METADATA_PREFIX = "metadata/"
COMPACTED_PREFIX = "compacted/"  # faster copies of manifests
CELLS_PREFIX = "cells/"
PROMPTS_PREFIX = "prompts/"  # what was read from standard input, and orders of rows that a run was grown to
FEATURES_PREFIX = "features/"
EVALUATIONS_PREFIX = "evaluations/"
CERTIFICATES_PREFIX = "certificates/"
REPORT_PREFIX = "report/"
COPIES_PREFIX = "copies/"  # pictures of the images nearest to a reference's
RATINGS_PREFIX = "ratings/"  # pairs that people are shown, and their votes
DRIVERS_PREFIX = "drivers/"  # of commands that render the run right now; part of nothing
SPENDING_PREFIX = "spending/"  # of commands that were given the price of a worker; part of nothing
PROFILE_PREFIX = "profile/"  # of the last start that was profiled; part of nothing

# What `image_key` and the like make: a digest, the start of a retried manifest's, the start of the bytes' own.
_IMAGE = re.compile(r"(images/([0-9a-f]{2}/)?|sidecars/|trajectories/)[0-9a-f]+(-[0-9a-f]+)*\.[a-z0-9]+")
_MANIFEST = re.compile(r"metadata/([0-9a-f]+)/(\d{12})-(\d{12})-([0-9a-f]+)\.parquet")
_STUDY = re.compile(r"ratings/([0-9a-f]+)/study\.json")
_SEGMENT = re.compile(r"compacted/([0-9a-f]+)/(\d{12})-(\d{12})-[0-9a-f]+\.parquet")


def manifest_key(shard: Shard) -> str:
    """It says all that a shard is: a listing of manifests is enough to resume."""
    return f"{METADATA_PREFIX}{_shard_path(shard)}"


def parse_manifest_key(key: str) -> Shard | None:
    """The shard whose manifest has this key; None for any other key."""
    match = _MANIFEST.fullmatch(key)
    return Shard(match[1], int(match[2]), int(match[3]), match[4]) if match else None


def segment_key(cell_id: str, start: int, stop: int, digest: str) -> str:
    """Of compacted shards of a cell, whose rows all lie in [start, stop)."""
    return f"{COMPACTED_PREFIX}{cell_id}/{start:012d}-{stop:012d}-{digest}.parquet"


def parse_segment_key(key: str) -> tuple[str, int, int] | None:
    """(cell_id, start, stop) of a segment's key; None for any other key."""
    match = _SEGMENT.fullmatch(key)
    return (match[1], int(match[2]), int(match[3])) if match else None


def kept_key(name: str) -> str:
    """Of a file of prompts that could be read once."""
    return f"{PROMPTS_PREFIX}{name}"


def order_key(order: str) -> str:
    """Of the order of a prompt dataset's rows that has this digest."""
    return f"{PROMPTS_PREFIX}order-{order}.parquet"


def features_prefix(extractor_id: str) -> str:
    return f"{FEATURES_PREFIX}{extractor_id}/"


def features_key(extractor_id: str, shard: Shard) -> str:
    """Named as the shard's manifest is."""
    return f"{features_prefix(extractor_id)}{_shard_path(shard)}"


def parse_features_key(extractor_id: str, key: str) -> Shard | None:
    """The shard whose features by this extractor have this key; None for any other key."""
    return parse_manifest_key(METADATA_PREFIX + key.removeprefix(features_prefix(extractor_id)))


def _shard_path(shard: Shard) -> str:
    return f"{shard.cell_id}/{shard.start:012d}-{shard.stop:012d}-{shard.shard_id}.parquet"


def cell_key(cell_id: str) -> str:
    return f"{CELLS_PREFIX}{cell_id}.json"


def parse_cell_key(key: str) -> str:
    """The cell_id that a cell's file is named after."""
    return key.removeprefix(CELLS_PREFIX).removesuffix(".json")


def image_key(image_id: str, extension: str) -> str:
    return f"{IMAGES_PREFIX}{image_id[:2]}/{image_id}.{extension}"


def container_key(name: str, extension: str) -> str:
    return f"{IMAGES_PREFIX}{name}.{extension}"


def trajectory_key(name: str) -> str:
    return f"{TRAJECTORIES_PREFIX}{name}.png"


def sidecars_key(name: str) -> str:
    """Of the signed manifests of a container's images."""
    return f"{SIDECARS_PREFIX}{name}.tar"


def is_image_key(key: str) -> bool:
    """Whether a job may have put this object among the images, sidecars or trajectories: nothing else there is
    removed."""
    return bool(_IMAGE.fullmatch(key))


def evaluation_key(evaluation_id: str) -> str:
    return f"{EVALUATIONS_PREFIX}{evaluation_id}.json"


def study_key(study_id: str) -> str:
    return f"{RATINGS_PREFIX}{study_id}/study.json"


def parse_study_key(key: str) -> str | None:
    """The study_id of a study's key; None for any other key."""
    match = _STUDY.fullmatch(key)
    return match[1] if match else None


def votes_prefix(study_id: str) -> str:
    return f"{RATINGS_PREFIX}{study_id}/votes/"


def copies_key(name: str) -> str:
    return f"{COPIES_PREFIX}{name}.png"


def rating_page_prefix(study_id: str) -> str:
    return f"{RATINGS_PREFIX}{study_id}/page/"


# JSON ----------------------------------------------------------------------------------------------------------------


def to_json(value: object) -> bytes:
    """Text for people too; a lone surrogate, which UTF-8 has no bytes for, becomes a question mark."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "replace")


def from_json(kind: type[T], value: Mapping[str, Any]) -> T:
    """A dataclass of plain fields, and of tuples of such. Raises TypeError or ValueError for what it cannot be made
    from."""
    hints = get_type_hints(kind)
    made = dict(value)
    for name, given in made.items():
        if name in hints and get_origin(hints[name]) is tuple and isinstance(given, list):
            made[name] = tuple(from_json(get_args(hints[name])[0], each) for each in given)
        elif name in hints and not _is_one_of(given, _kinds(hints[name])):
            raise TypeError(f"{name} is {given!r}"[:80])
    return kind(**made)


def _is_one_of(given: Any, kinds: tuple[Any, ...]) -> bool:
    """A whole number may stand for a float, and a bool for no number."""
    if type(given) in (bool, int, float):
        return type(given) in kinds or (type(given) is int and float in kinds)
    return isinstance(given, tuple(get_origin(kind) or kind for kind in kinds))


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if isinstance(hint, UnionType) else (hint,)
