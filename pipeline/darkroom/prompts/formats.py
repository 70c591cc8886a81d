"""Files of other tools as prompts: lines of AUTOMATIC1111's script, requests of OpenAI's Batch API, images."""

from collections.abc import Callable, Mapping

from darkroom.domain.errors import DarkroomError
from darkroom.domain.setting_values import unknown
from darkroom.prompts.columns import ColumnMapping, column_mapping
from darkroom.prompts.dataset import OnInvalid, PromptDataset, SourceDataset
from darkroom.prompts.images import images_source
from darkroom.prompts.openai_batch import OpenAIBatch
from darkroom.prompts.opening import notes
from darkroom.prompts.reading import A1111_LINES, IMAGES, OPENAI_BATCH, Reading
from darkroom.prompts.sources import Source
from darkroom.prompts.web_ui_lines import FLAGS, WebUiLines
from darkroom.prompts.wildcards import Wildcards
from darkroom.storage.input_files import InputFile
from darkroom.storage.scanning import Kinds, Place, locate, scan

_ENDINGS = {A1111_LINES: (".txt",), OPENAI_BATCH: (".jsonl", ".json")}  # of formats that are read line by line


def open_as(
    uri: str,
    reading: Reading,
    on_invalid: OnInvalid = "fail",
    endpoint_url: str | None = None,
    columns: Mapping[str, str | None] | None = None,
) -> PromptDataset:
    """Prompts of a file, a folder, a glob or an s3:// address in a format that no ending tells."""
    check_reading(reading)
    if not uri:
        raise DarkroomError("prompts.uri is not set; give a file, a folder, a glob or an s3:// address")
    place, mapping = locate(uri, endpoint_url, "prompts.uri", "prompts.endpoint_url"), column_mapping(columns or {})
    if reading.format == IMAGES:
        source, told = images_source(place, mapping)
        return SourceDataset(uri, [source], on_invalid, mapping, warnings=tuple(told))
    files, told = _files(place, reading.format)
    make = _line_reader(reading, mapping, endpoint_url)
    return SourceDataset(uri, [make(file) for file in files], on_invalid, mapping, warnings=(*told, *_told(reading)))


def check_reading(reading: Reading) -> None:
    """Raises DarkroomError for what does nothing with this format."""
    others = [name for name in reading.said if name != "format"]
    if others and reading.format != A1111_LINES:
        raise DarkroomError(
            f"prompts.{others[0]}: it does nothing without prompts.format={A1111_LINES}; give that, or leave it out"
        )
    flags = [each for each in FLAGS if each != "prompt"]
    for name in (name for name in reading.ignored if name not in flags):
        raise DarkroomError(f"prompts.ignored: {unknown(name, flags, 'flag')}")


def _files(place: Place, kind: str) -> tuple[tuple[InputFile, ...], list[str]]:
    endings = _ENDINGS[kind]
    needed = f"files of prompts.format={kind} end in {' or '.join(endings)} (or one of these and .gz)"
    kinds = Kinds(
        frozenset(endings),
        f"files of format {kind}",
        unpacks=True,
        exclude=notes,
        exclude_reason="notes by their names",
    )
    found = scan(place, kinds)
    if not found.files:
        raise DarkroomError(f"prompts.uri={place.uri}: no such file, or nothing there to read; {needed}")
    for file in (file for file in found.files if file.ending not in endings):
        raise DarkroomError(f"{file.name}: ending {file.ending!r}; {needed}")
    return found.files, [f"{place.uri}: {sentence}" for sentence in found.left_out]


def _line_reader(reading: Reading, mapping: ColumnMapping, endpoint_url: str | None) -> Callable[[InputFile], Source]:
    if reading.format == OPENAI_BATCH:
        return lambda file: OpenAIBatch(file, mapping)
    endpoint = endpoint_url if reading.wildcards and "://" in reading.wildcards else None
    wildcards = Wildcards(reading.wildcards, endpoint)
    return lambda file: WebUiLines(file, mapping, wildcards, reading.num_draws, reading.draw_seed, reading.ignored)


def _told(reading: Reading) -> list[str]:
    if reading.format == OPENAI_BATCH:
        return ["requests' model and options, but for n and size, are carried as columns request_..., and not acted on"]
    return [f"flags {', '.join(reading.ignored)} are carried as columns, and not acted on"] if reading.ignored else []
