"""What prompts are like: a page on which a request's are looked at before they are rendered, with the same as JSON
beside it; and what a run's page says of those that it was rendered with.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from darkroom.api.checking import Checked
from darkroom.api.models import with_files
from darkroom.api.prompt_checks import text_reader
from darkroom.api.run import Run
from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import INVALID, PromptRow
from darkroom.domain.settings import ROW_SETTINGS
from darkroom.prompts.preflight import EXTRA, Encoder, Row, found_in, preflight
from darkroom.prompts.wildcards import lines_of_file
from darkroom.rendering.model_files import INDEX
from darkroom.rendering.model_places import folder_here
from darkroom.rendering.text_encoders import text_encoders
from darkroom.reporting.page import prompts_page
from darkroom.runs.bulk import read_each
from darkroom.runs.cells import CellInfo, in_order
from darkroom.runs.listing import Committed, committed_shards
from darkroom.runs.manifest import RECORD_SCHEMA, WithExtras

USUAL = "prompts_report.html"  # in the working folder, where `report=true` is said
MOST_OF_RUN = 20_000  # prompts of a run that its page looks at
_ROW_SETTINGS = tuple(each.name for each in ROW_SETTINGS if each.of_image)
_READ = ("row", "prompt_id", "prompt", "status", *_ROW_SETTINGS)


def checked_report(report: str | None, words: str | None) -> tuple[Path | None, list[str]]:
    """Where the page goes, and the words that are looked for. Raises DarkroomError for what cannot be."""
    if report is None or report.lower() == "false":
        if words is not None:
            raise DarkroomError("words: it does nothing without report=true; give that, or leave it out")
        return None, []
    path = Path(USUAL if report.lower() == "true" else report)
    if path.suffix.lower() != ".html":
        raise DarkroomError(f"report={report}: give true, or the page's file, which ends in .html")
    if not path.absolute().parent.is_dir():
        raise DarkroomError(f"report={report}: its folder does not exist; make it, or name another file")
    return path, listed_words(words)


def listed_words(path: str | None) -> list[str]:
    """Raises DarkroomError where there is no such list."""
    return lines_of_file(path, None, "words") if path is not None else []


def write_preflight(found: Checked, path: Path, words: Sequence[str]) -> None:
    """Write the page and its JSON."""
    prompts = found.request.prompts
    text_of = text_reader(found.cells[0].cell.sampling.prompt_syntax)
    folders = [(each.identity.repo_id, each.folder, each.identity.pipeline_class) for each in found.models]
    said = preflight(prompts.dataset, _encoders(folders), words, text_of)
    path.with_suffix(".json").write_text(json.dumps(said, ensure_ascii=False, indent=1), encoding="utf-8")
    path.write_text(prompts_page(prompts.name, said, EXTRA), encoding="utf-8")


def _encoders(models: Iterable[tuple[str, str | Path | None, str]]) -> list[Encoder]:
    """Those of all models: (name, folder, pipeline class)."""
    known = dict.fromkeys((name, Path(folder), kind) for name, folder, kind in models if folder)
    of_several = len({name for name, _, _ in known}) > 1
    return [
        Encoder(f"{name}, {each.name}" if of_several else each.name, each.count, each.limit)
        for name, folder, kind in known
        if (folder / INDEX).is_file()
        for each in text_encoders(folder, kind)
    ]


# Of a run ------------------------------------------------------------------------------------------------------------


def run_preflight(run: Run, words: Sequence[str]) -> dict[str, Any]:
    """What `preflight` finds, of the prompts in the records of a run's first cell: all, or of a long run those of
    shards at equal distances, `MOST_OF_RUN` in all. Lengths are of models whose small files are on this machine."""
    [cell_id, info] = next(iter(in_order(run.cells).items()))
    rows, num_invalid = _rows(run, cell_id)
    folders = [(cell.cell.model.repo_id, _folder(cell), cell.cell.model.pipeline_class) for cell in run.cells.values()]
    text_of, num_rows = text_reader(info.cell.sampling.prompt_syntax), run.info.prompts.num_rows
    return found_in(rows, num_rows, num_invalid, _encoders(folders), words, text_of)


def _rows(run: Run, cell_id: str) -> tuple[list[Row], int]:
    """(valid rows that are looked at, the number of others among them)."""
    records: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}  # by row: the first of its images, and extra columns
    for _, table in read_each(run.store, _spread(list(committed_shards(run.store, cell_id))), WithExtras(_READ)):
        own = [name for name in table.column_names if name not in RECORD_SCHEMA.names]
        extras = table.select(own).to_pylist() if own else [{}] * len(table)
        for record, extra in zip(table.select(_READ).to_pylist(), extras, strict=True):
            records.setdefault(record["row"], (record, extra))
    valid = [each for each in records.values() if each[0]["status"] != INVALID]
    varying = [name for name in _ROW_SETTINGS if len({record[name] for record, _ in valid}) > 1]
    return [(_prompt_row(record, varying), extra) for record, extra in valid], len(records) - len(valid)


def _prompt_row(record: Mapping[str, Any], varying: Sequence[str]) -> PromptRow:
    """With the settings in which rows differ."""
    overrides = tuple((name, record[name]) for name in varying if record[name] is not None)
    return PromptRow(record["row"], record["prompt_id"], record["prompt"], overrides)


def _spread(shards: Sequence[Committed]) -> Sequence[Committed]:
    """As many as have `MOST_OF_RUN` rows, at equal distances."""
    num_rows = sum(each.shard.num_rows for each in shards)
    return shards[:: max(1, -(-num_rows // MOST_OF_RUN))]


def _folder(cell: CellInfo) -> Path | None:
    """Of the model's small files, where they are on this machine."""
    ref = with_files(cell.ref)
    return None if ref.make else folder_here(ref.repo_id, cell.cell.model.revision)
