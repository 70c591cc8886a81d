"""A small committed run with scores, and what an export of it holds."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from darkroom.api.run import Run
from darkroom.evaluation.figures import Metric
from darkroom.exporting.shards import LIST
from tests.reporting.runs import CLIP, cell, evaluate, rendered, score

PROMPTS = [f"a red circle, number {number}" for number in range(18)]
HESSEL = Metric(**{**vars(CLIP), "convention": "hessel: 2.5 max(cos, 0)"})


def committed(folder: Path, layout: str = "files") -> Run:
    """Two cells of 18 prompts, with own columns and CLIP scores."""
    cells = (cell(guidance_scale=2.0), cell(guidance_scale=5.0))
    own = {"lang": ["de", "en", "fr"] * 6, "text": [f"own {number}" for number in range(18)]}
    store, info, by_id = rendered(folder, PROMPTS, cells, layout, **own)
    score(store)
    evaluate(store, by_id, HESSEL)
    return Run(store, info, by_id)


def files(folder: Path) -> dict[str, bytes]:
    """Of an export, by their names."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows(folder: Path) -> pd.DataFrame:
    """Of an export in any layout: its columns, its image's bytes as `data`, and the file as `file`."""
    names = sorted(name for name in files(folder) if name != "duplicates.parquet")
    found = [row for name in names for row in _READERS.get(Path(name).suffix, _none)(folder / name)]
    return pd.DataFrame(found)


def _none(path: Path) -> list[dict[str, object]]:
    return []


def _of_parquet(path: Path) -> list[dict[str, object]]:
    if path.name == LIST:
        return _of_list(path)
    table = pd.read_parquet(path)
    return [{**row, "data": row["image"]["bytes"], "file": path.name} for row in table.to_dict("records")]


def _of_tar(path: Path) -> list[dict[str, object]]:
    with tarfile.open(path) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}  # type: ignore[union-attr]
    keys = dict.fromkeys(name.partition(".")[0] for name in members)
    samples = [(json.loads(members[f"{key}.json"]), members[f"{key}.txt"].decode(), key) for key in keys]
    assert all(row["text"] == text for row, text, _ in samples)
    images = {name.partition(".")[0]: data for name, data in members.items() if not name.endswith((".json", ".txt"))}
    return [{**row, "data": images[key], "file": path.name} for row, _, key in samples]


def _of_list(path: Path) -> list[dict[str, object]]:
    found = pd.read_parquet(path).to_dict("records")
    assert {row["file_name"] for row in found} == {each.name for each in path.parent.iterdir() if each != path}
    return [{**row, "data": (path.parent / row["file_name"]).read_bytes(), "file": str(path)} for row in found]


_READERS = {".parquet": _of_parquet, ".tar": _of_tar}


def check_sums(folder: Path) -> None:
    """SHA256SUMS names every file, with its digest."""
    there = files(folder)
    lines = there.pop("SHA256SUMS").decode().splitlines()
    assert {line[66:]: line[:64] for line in lines} == {
        name: hashlib.sha256(data).hexdigest() for name, data in there.items()
    }


def header(card: str) -> Mapping[str, object]:
    import yaml

    return yaml.safe_load(io.StringIO(card.split("---")[1]))
