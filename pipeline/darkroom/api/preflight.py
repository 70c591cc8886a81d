"""The page on which a request's prompts are looked at before they are rendered, and the same as JSON beside it."""

import json
from collections.abc import Sequence
from pathlib import Path

from darkroom.api.checking import Checked
from darkroom.api.prompt_checks import text_reader
from darkroom.domain.errors import DarkroomError
from darkroom.prompts.preflight import EXTRA, Encoder, preflight
from darkroom.prompts.wildcards import lines_of_file
from darkroom.rendering.inspected_model import InspectedModel, token_counter
from darkroom.reporting.page import prompts_page

USUAL = "prompts_report.html"  # in the working folder, where `report=true` is said


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
    return path, lines_of_file(words, None, "words") if words is not None else []


def write_preflight(found: Checked, path: Path, words: Sequence[str]) -> None:
    """Write the page and its JSON."""
    prompts = found.request.prompts
    text_of = text_reader(found.cells[0].cell.sampling.prompt_syntax)
    said = preflight(prompts.dataset, _encoders(found.models), words, text_of)
    path.with_suffix(".json").write_text(json.dumps(said, ensure_ascii=False, indent=1), encoding="utf-8")
    path.write_text(prompts_page(prompts.name, said, EXTRA), encoding="utf-8")


def _encoders(models: Sequence[InspectedModel]) -> list[Encoder]:
    """The tokenizer of each model that reads most of a prompt."""
    found: dict[str, Encoder] = {}
    for model in models:
        limit = model.max_prompt_tokens
        counter = None if limit is None or model.plug_in else token_counter(model)
        if limit is not None and counter is not None:
            found.setdefault(model.identity.repo_id, Encoder(model.identity.repo_id, counter, limit))
    return list(found.values())
