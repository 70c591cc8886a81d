"""Croissant metadata of an exported dataset: what its files are, and which columns a record has.

JSON-LD after the Croissant format specification 1.0 (https://docs.mlcommons.org/croissant/docs/croissant-spec.html). A
FileSet that is contained in nothing is of files beside croissant.json.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from darkroom.exporting.about import Card, citation, description
from darkroom.exporting.shards import LIST, ExportedFile
from darkroom.runs.encoding import CONTENT_TYPES, EXTENSIONS, task_of
from darkroom.runs.videos import CODECS

_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{
        name: f"cr:{name}"
        for name in (
            "citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet",
            "format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet",
            "references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField",
            "transform",
        )
    },
}  # fmt: skip
_TYPES = {"parquet": "application/x-parquet", "tar": "application/x-tar"}
_PLAIN = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_SPACE = re.compile(r"\s")
_RECORDS, _FILES = "images", "files"  # names of record sets
_SHARDS, _IMAGES, _JSON = "shards", "image-files", "json-files"  # of sets of files


def croissant(of: Card, files: Sequence[ExportedFile]) -> dict[str, Any]:
    """croissant.json; `files`: of all shards. Without a date and an author, which are not known."""
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": of.title,
        "description": description(of),
        **({"license": of.license} if of.license else {}),
        "citeAs": citation(of),
        "keywords": [task_of(of.form.image_format), "synthetic"],
        "version": "1.0.0",
        "isLiveDataset": False,
        "distribution": [*_objects(files), *_sets(of)],
        "recordSet": list(_record_sets(of)),
    }


# Files ---------------------------------------------------------------------------------------------------------------


def _objects(files: Sequence[ExportedFile]) -> Iterator[dict[str, Any]]:
    """One a shard: of a folder of images its list, since SHA256SUMS has the images."""
    for file in sorted(files, key=lambda file: file.key):
        if kind := _TYPES.get(file.key.rpartition(".")[2]):
            yield {
                "@type": "cr:FileObject",
                "@id": file.key,
                "name": file.key,
                "contentUrl": file.key,
                "contentSize": f"{file.size_bytes} B",
                "encodingFormat": kind,
                "sha256": file.sha256,
            }


def _sets(of: Card) -> Iterator[dict[str, Any]]:
    extension, kind = EXTENSIONS[of.form.image_format], CONTENT_TYPES[of.form.image_format]
    if of.form.layout == "parquet":
        yield _set(_SHARDS, _TYPES["parquet"], "data/*.parquet")
    elif of.form.layout == "imagefolder":
        yield _set(_SHARDS, _TYPES["parquet"], *(f"{split}/*{LIST}" for split in of.counts.splits))
        yield _set(_IMAGES, kind, *(f"{split}/*.{extension}" for split in of.counts.splits))
    else:
        tars = [{"@id": of.form.key(split, number, count)} for split, count in of.num_shards.items()
                for number in range(count)]  # fmt: skip
        yield {**_set(_IMAGES, kind, f"*.{extension}"), "containedIn": tars}
        yield {**_set(_JSON, "application/json", "*.json"), "containedIn": tars}


def _set(name: str, kind: str, *patterns: str) -> dict[str, Any]:
    includes = patterns[0] if len(patterns) == 1 else list(patterns)
    return {"@type": "cr:FileSet", "@id": name, "name": name, "encodingFormat": kind, "includes": includes}


# Records -------------------------------------------------------------------------------------------------------------


def _record_sets(of: Card) -> Iterator[dict[str, Any]]:
    if of.form.layout == "parquet":
        yield _record_set(_RECORDS, [_image(of, _column(_SHARDS, "image") | {"transform": {"jsonPath": "bytes"}}),
                                     *_fields(of)])  # fmt: skip
    else:  # images are files of their own, which records name
        is_tar = of.form.layout == "webdataset"
        name = _field(_FILES, "file_name", "sc:Text", _named(_IMAGES) if is_tar else _of_file(_IMAGES, "filename"))
        yield _record_set(_FILES, [name, _image(of, _of_file(_IMAGES, "content"), _FILES)], key=name["@id"])
        own = _field(_RECORDS, "file_name", "sc:Text", _named(_JSON) if is_tar else _column(_SHARDS, "file_name"))
        own["references"] = {"field": {"@id": name["@id"]}}
        yield _record_set(_RECORDS, [own, *_fields(of)])


def _record_set(name: str, fields: Sequence[dict[str, Any]], key: str = "") -> dict[str, Any]:
    keyed = {"key": {"@id": key}} if key else {}
    return {"@type": "cr:RecordSet", "@id": name, "name": name, **keyed, "field": list(fields)}


def _fields(of: Card) -> Iterator[dict[str, Any]]:
    """Of the columns; lists of structs, which Croissant has no source for, are left to the card."""
    taken: set[str] = set()
    for field in [*of.form.types, *of.form.sidecars]:
        for found in _described(of, field, (field.name,)):
            while found["@id"] in taken:
                found["@id"] += "_"
            taken.add(found["@id"])
            yield found


def _described(of: Card, field: pa.Field, path: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """A column, or a part of one: `path` leads to it."""
    kind, is_list = field.type, False
    while pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind):
        kind, is_list = kind.value_type, True
    if not pt.is_struct(kind):
        found = _field(_RECORDS, ".".join(path), _data_type(kind), _value(of, path))
        yield found | ({"repeated": True} if is_list else {})
    elif not is_list and (parts := [each for part in kind for each in _described(of, part, (*path, part.name))]):
        found = _field(_RECORDS, ".".join(path), "sc:Text", {})
        yield {**{name: found[name] for name in ("@type", "@id", "name")}, "subField": parts}


def _value(of: Card, path: tuple[str, ...]) -> dict[str, Any]:
    if of.form.layout == "webdataset":
        return {"fileSet": {"@id": _JSON}, "extract": {"jsonPath": _json_path(path)}}
    inside = {"transform": {"jsonPath": _json_path(path[1:])}} if path[1:] else {}
    return {**_column(_SHARDS, path[0]), **inside}


def _json_path(path: tuple[str, ...]) -> str:
    """Quoted where a name has a dot, a space or the like."""
    parts = (f".{name}" if _PLAIN.fullmatch(name) else f"[{json.dumps(name, ensure_ascii=False)}]" for name in path)
    return "$" + "".join(parts)


def _field(record_set: str, name: str, data_type: str, source: dict[str, Any]) -> dict[str, Any]:
    """Its id has no space: readers refuse one."""
    named = {"@id": f"{record_set}/{_SPACE.sub('_', name)}", "name": name}
    return {"@type": "cr:Field", **named, "dataType": data_type, "source": source}


def _image(of: Card, source: dict[str, Any], record_set: str = _RECORDS) -> dict[str, Any]:
    kind = "sc:VideoObject" if of.form.image_format in CODECS else "sc:ImageObject"
    return _field(record_set, "image", kind, source)


def _column(files: str, name: str) -> dict[str, Any]:
    return {"fileSet": {"@id": files}, "extract": {"column": name}}


def _of_file(files: str, what: str) -> dict[str, Any]:
    return {"fileSet": {"@id": files}, "extract": {"fileProperty": what}}


def _named(files: str) -> dict[str, Any]:
    """What a file in a tar is called up to its first dot."""
    return {**_of_file(files, "filename"), "transform": {"regex": "^([^.]+)"}}


def _data_type(kind: pa.DataType) -> str:
    if pt.is_boolean(kind):
        return "sc:Boolean"
    if pt.is_integer(kind):
        return "sc:Integer"
    if pt.is_floating(kind) or pt.is_decimal(kind):
        return "sc:Float"
    if pt.is_time(kind):
        return "sc:Time"
    return "sc:DateTime" if pt.is_timestamp(kind) else "sc:Date" if pt.is_date(kind) else "sc:Text"
