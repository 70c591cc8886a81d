"""Prompts written to a file as they are read, streamed: Parquet, or one JSON object a line."""

import json
from pathlib import Path

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.dataset import PromptDataset, write_parquet

_PARQUET, _JSONL = ".parquet", ".jsonl"


def write_prompts(dataset: PromptDataset, path: str) -> int:
    """Write rows, their ids and extra columns, so that they read back as the same, by the path's ending; the number of
    rows. The file appears whole or not at all. Raises DarkroomError where it cannot be written."""
    try:
        return write_parquet(dataset, path) if _ending(path) == _PARQUET else _write_jsonl(dataset, Path(path))
    except OSError as error:
        raise DarkroomError(
            f"write_to={path}: cannot be written ({error.strerror or error}); name another file"
        ) from error


def check_path(path: str) -> None:
    """Raises DarkroomError for one that no prompts can be written to."""
    if _ending(path) not in (_PARQUET, _JSONL):
        raise DarkroomError(f"write_to={path}: prompts are written as {_PARQUET} or {_JSONL}; give one of these")
    if not Path(path).absolute().parent.is_dir():
        raise DarkroomError(f"write_to={path}: its folder does not exist; make it, or name another file")


def _ending(path: str) -> str:
    return Path(path).suffix.lower()


def _write_jsonl(dataset: PromptDataset, path: Path) -> int:
    scan = dataset.scan(1)
    if scan.num_invalid:
        raise DarkroomError(f"{path}: {scan.num_invalid} rows are invalid and would be lost; mend or drop them first")
    if scan.held:
        raise DarkroomError(f"{path}: {scan.held[0]} is files, which JSON lines do not hold; write .parquet")
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        for block in dataset.blocks():
            extras = block.extras.to_pylist() if block.extras.num_columns else [{}] * len(block.rows)
            for row, others in zip(block.rows, extras, strict=True):
                values = {"prompt": row.prompt, "prompt_id": row.prompt_id, **dict(row.overrides), **others}
                file.write(json.dumps(values, ensure_ascii=False, default=str) + "\n")
    part.replace(path)
    return scan.num_rows
