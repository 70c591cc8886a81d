"""The front door of prompts: datasets from files, from memory and from templates.

It runs where a command is given, before any model is loaded.
"""

import os
import re
import shlex
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import pyarrow as pa
from pyarrow import fs

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.columns import READ, ColumnMapping, column_mapping
from darkroom.prompts.dataset import OnInvalid, PromptDataset, SourceDataset
from darkroom.prompts.delimited import DelimitedSource
from darkroom.prompts.lines import JsonlSource, LinesSource
from darkroom.prompts.memory import memory_source, memory_warnings
from darkroom.prompts.partitions import EmptySource, Partition, PartitionedSource, partition_of
from darkroom.prompts.presets import Preset, Reader, preset_of
from darkroom.prompts.sources import ParquetSource, Source
from darkroom.prompts.template import Mode, template_source
from darkroom.storage.input_files import InputFile, compression_of, ending_of
from darkroom.storage.scanning import Kinds, Place, Scan, fixed_part, locate, scan
from darkroom.storage.store import endpoint_of_no_store
from darkroom.storage.web_files import is_web, web_place

_READERS: dict[str, Reader] = {
    ".parquet": ParquetSource,
    ".csv": lambda file, mapping: DelimitedSource(file, ",", mapping),
    ".tsv": lambda file, mapping: DelimitedSource(file, "\t", mapping),
    ".jsonl": JsonlSource,
    ".txt": lambda file, _mapping: LinesSource(file),
}
_NEEDED = f"one of {' '.join(sorted(_READERS))} (or one of these and .gz)"
_LINES = ".txt"
_NOTES = re.compile(
    r"(read[-_ ]?me|licen[cs]e|copying|requirements)([-_. ].*)?|notice|authors|contributors|citation|change[-_ ]?log|"
    r"notes?|todo",
    re.IGNORECASE,
)
SOURCE = "source"  # the column that says which of several addresses a row is of


def open_prompts(
    source: str | os.PathLike[str] | Any,
    on_invalid: OnInvalid = "fail",
    endpoint_url: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    name: str = "prompts",
    preset: str | None = None,
    allow_remote: bool = False,
) -> PromptDataset:
    """Prompts of a file, a folder, a glob or an s3:// address, format by ending; several files are read in order.

    Or of what is in memory, called `name` in errors: a list or an iterator of texts or dicts, a pandas DataFrame, an
    Arrow table or whatever gives itself as one. `columns` says which column a name is read from where it is not the
    one of that name; None: from no column. `preset`: a name of `presets.PRESETS`, whose files these are.
    `allow_remote`: an address of the web may be fetched. Raises DarkroomError, in one line, for what cannot be read.
    """
    if on_invalid not in ("fail", "record"):
        raise DarkroomError(f"prompts.on_invalid={on_invalid}: needed fail or record")
    mapping = column_mapping(columns or {})
    if not isinstance(source, str | os.PathLike):
        left_out = tuple(memory_warnings(source, name))
        return SourceDataset(name, [memory_source(source, name, mapping)], on_invalid, mapping, warnings=left_out)
    uri = os.fspath(source)
    if not uri:
        raise DarkroomError("prompts.uri is not set; give a file, a folder, a glob or an s3:// address")
    known = None if preset is None else preset_of(preset)
    readers = {**_READERS, **(known.readers if known else {})}
    place = _located(uri, endpoint_url, readers, allow_remote)
    if known and known.glob and place.type == fs.FileType.Directory:
        place = replace(place, uri=f"{uri.rstrip('/')}/{known.glob}", path=f"{place.path}/{known.glob}")
    found = _found(place, readers, _where(preset, known))
    partitions = [partition_of(file.path[len(found.base) :]) for file in found.files]
    if known:
        mapping = _preset_mapping(known, columns or {}, found.files, readers)
        partitions = [{**each, **_stem(known, file)} for file, each in zip(found.files, partitions, strict=True)]
    pairs = list(zip(found.files, partitions, strict=True))
    sources = [_source(file, mapping, each, found, readers) for file, each in pairs]
    by_etag = [_source(replace(file, is_known_by_etag=True), mapping, each, found, readers) for file, each in pairs]
    settings = [{name: value for name, value in each.items() if name in READ} for each in partitions]
    warnings = (*_warnings(place, found), *(_other_files(known, found) if known else ()))
    has_etags = any(file.state.etag for file in found.files)
    return SourceDataset(uri, sources, on_invalid, mapping, settings, warnings, by_etag=by_etag if has_etags else ())


def mixed_prompts(uris: Sequence[str], columns: Mapping[str, str | None] | None = None, **said: Any) -> PromptDataset:
    """Prompts of several addresses, one after the other; their column `source` says which one a row is of.

    `said`: other arguments of `open_prompts`.
    """
    names = [PurePath(uri.rstrip("/")).name for uri in uris]
    names = [name if names.count(name) == 1 else uri for name, uri in zip(names, uris, strict=True)]
    for name in names:
        if names.count(name) > 1:
            raise DarkroomError(f"prompts.uri: {name} is there twice; give each file or folder once")
    found: list[SourceDataset] = []
    for uri in uris:
        has_lines = ending_of(uri, compression_of(uri) is not None) == _LINES  # which have no columns
        each = open_prompts(uri, columns=None if has_lines else columns, **said)
        assert isinstance(each, SourceDataset)
        found.append(each)
    pairs = list(zip(found, names, strict=True))
    has_etags = any(each.by_etag for each in found)
    return SourceDataset(
        ", ".join(uris),
        [PartitionedSource(source, {SOURCE: name}) for each, name in pairs for source in each.sources],
        found[0].on_invalid,
        next((each.mapping for each in found if each.mapping.columns), found[0].mapping),
        [partition for each in found for partition in each.partitions],
        tuple(warning for each in found for warning in each.warnings),
        groups=[name for each, name in pairs for _ in each.sources],
        by_etag=[
            PartitionedSource(source, {SOURCE: name})
            for each, name in (pairs if has_etags else ())
            for source in each.by_etag or each.sources
        ],
    )


def template_prompts(
    pattern: str, slots: Mapping[str, Any], mode: Mode, num_prompts: int | None, seed: int, indexed: bool = False
) -> PromptDataset:
    """Prompts of a pattern such as "a {colour} {shape}"; the slots' values become extra columns."""
    source = template_source(pattern, slots, mode, num_prompts, seed, indexed)
    return SourceDataset(source.name, [source])


def _located(uri: str, endpoint_url: str | None, endings: Collection[str], allow_remote: bool) -> Place:
    if not is_web(uri):
        return locate(uri, endpoint_url, "prompts.uri", "prompts.endpoint_url")
    if endpoint_url:
        raise endpoint_of_no_store(uri, "prompts.uri", "prompts.endpoint_url")
    if not allow_remote:
        raise DarkroomError(
            f"prompts.uri={uri}: an address of the web is fetched only where prompts.allow_remote=true says so; add "
            "it, or copy the files to a folder or to s3://"
        )
    return web_place(uri, "prompts.uri", endings)


def _where(name: str | None, preset: Preset | None) -> str:
    """For whoever lacks a preset's file."""
    return f" for prompts=preset.{name}: get it from {preset.address}, and give its place" if preset else ""


def _preset_mapping(
    preset: Preset, columns: Mapping[str, str | None], files: Sequence[InputFile], readers: Mapping[str, Reader]
) -> ColumnMapping:
    """What is said of columns, and what the preset knows of them: the first of its names of prompts that is there."""
    tables = [file for file in files if file.ending != _LINES and not file.is_empty]
    if not tables:
        return column_mapping(columns)
    named: Sequence[str | None] = preset.prompt if "prompt" not in columns else ()
    mappings = [column_mapping({**preset.columns(each), **columns}) for each in named or [None]]
    for mapping in mappings[:-1]:
        with suppress(DarkroomError):
            if _has_prompts(readers[tables[0].ending](tables[0], mapping)):
                return mapping
    return mappings[-1]


def _has_prompts(source: Source) -> bool:
    """By its header, or else by its first row. Raises DarkroomError where a header has none."""
    schema = source.schema()
    if schema is None:
        schema = next(iter(source.read(0, 1, None))).table.schema
    return bool(schema.field("prompt").type != pa.null())


def _stem(preset: Preset, file: InputFile) -> dict[str, str]:
    """What the name of a file of lines says."""
    if not preset.stem or file.ending != _LINES:
        return {}
    return {preset.stem: PurePath(file.path).name.split(".")[0].removesuffix("_val")}


def _other_files(preset: Preset, found: Scan) -> Iterator[str]:
    for file in found.files if preset.sha256 else ():
        if file.content_digest() not in preset.sha256:
            yield (
                f"{file.name}: not the file as it is known from {preset.address}; its figures may not compare with "
                "those of others"
            )


def _found(place: Place, readers: Mapping[str, Reader], where: str) -> Scan:
    """Prompt files at an address, at least one; `where`: to get them."""
    kinds = Kinds(
        frozenset(readers),
        "prompt files",
        unpacks=True,
        hidden="._",  # first characters of programs' markers and notes
        has_etags=True,
        exclude=notes,
        exclude_reason="text beside tables, or notes by their names; name a file itself to have it read",
    )
    found = scan(place, kinds)
    if not found.files:
        left_out = "".join(f"; {sentence}" for sentence in found.left_out)
        raise DarkroomError(
            f"prompts.uri={place.uri}: no such file, or nothing there to read{left_out}{where or f'; needed {_NEEDED}'}"
        )
    for file in found.files:
        if file.ending not in readers:
            raise DarkroomError(f"{file.name}: ending {file.ending!r} is not that of a prompt file; needed {_NEEDED}")
    return found


def notes(files: Sequence[InputFile]) -> list[InputFile]:
    """Files of lines that are no prompts: all of them beside tables, else those of such a name as README.txt."""
    texts = [file for file in files if file.ending == _LINES]
    return texts if len(texts) < len(files) else [file for file in texts if _NOTES.fullmatch(PurePath(file.path).stem)]


def _source(
    file: InputFile, mapping: ColumnMapping, partition: Partition, found: Scan, readers: Mapping[str, Reader]
) -> Source:
    if file.is_empty and not all(each.is_empty for each in found.files):
        return EmptySource(file)
    if file.ending == _LINES and mapping.columns:
        raise DarkroomError(
            f"{file.name}: prompts.columns says how columns are read, and lines have none; leave it out"
        )
    source = readers[file.ending](file, mapping)
    named = {mapping.renamed_outside(name): value for name, value in partition.items()}
    return PartitionedSource(source, named) if named else source


def _warnings(place: Place, found: Scan) -> Iterator[str]:
    yield from (f"{place.uri}: {sentence}" for sentence in found.left_out)
    counts = sorted(Counter(file.ending for file in found.files).items())
    if len(counts) > 1:  # often the same rows, written twice
        kinds = " and ".join(f"{count} {ending}" for ending, count in counts)
        folder = place.uri.rstrip("/") if found.base == place.path else fixed_part(place.uri)
        one_kind = shlex.quote(f"prompts.uri={folder or '.'}/**/*{counts[0][0]}")
        yield f"{place.uri}: {kinds} are read together; if they hold the same rows, give one kind as {one_kind}"
