"""A run's own folder opens as a dataset, in every layout: images that records name, each with its caption and columns.

What `datasets` does with the header is done here by its words; `readers.py` opens the same folders with the library.
"""

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import darkroom
from darkroom.exporting import run_folder
from darkroom.exporting.run_folder import CARD_KEY, TABLE_KEY, write_folder_card
from darkroom.runs.encoding import index_tar
from darkroom.runs.layouts import LAYOUTS
from tests.exporting.runs import header
from tests.jobs.helpers import PAINT, run_here

ROWS = [
    {"prompt": f"prompt {number}", "prompt_id": f"p{number}", "kind": None if number < 9 else "late", "text": "x"}
    for number in range(10)
]
Make = Callable[[str], Path]


def generate(folder: Path, layout: str, *words: str, rows: list[dict[str, Any]] = ROWS, job: str = "sweep") -> Path:
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ("prompts=file", f"prompts.uri={prompts}", f"output.uri={folder / 'run'}", f"output.layout={layout}")
    cells = ["grid.axes.guidance_scale=[1,3]"] if job == "sweep" else []
    assert run_here(job, *PAINT, *given, *cells, "engine.shard_size=4", "prompts.on_invalid=record", *words) in (0, 3)
    return folder / "run"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A finished sweep of a layout, with an invalid row, which stays as it is."""

    @cache
    def make(layout: str) -> Path:
        return generate(tmp_path_factory.mktemp(layout), layout, rows=[*ROWS, {"prompt": "", "prompt_id": "none"}])

    return make


def samples(folder: Path, config: str = "default") -> list[dict[str, Any]]:
    """What the header opens: the columns of each image, its prompt as `caption` and its bytes as `data`."""
    said: Any = header((folder / CARD_KEY).read_text())
    [files] = [each["data_files"] for each in said["configs"] if each["config_name"] == config]
    paths = [path for each in files for name in each["path"] for path in sorted(folder.glob(name)) if path.is_file()]
    infos = said["dataset_info"] if isinstance(said["dataset_info"], list) else [said["dataset_info"]]
    features = {each["name"]: each for each in infos[0]["features"]}
    found = []
    for path in paths:
        if path.suffix == ".tar":
            struct = {each["name"] for each in features["json"]["struct"]}
            for sample in index_tar(path.read_bytes()).values():
                row = {name: value for name, value in json.loads(sample.settings or "").items() if name in struct}
                found.append({**row, "caption": sample.prompt, "data": sample.data})
        elif path.name == TABLE_KEY:
            for row in pq.read_table(path).to_pylist():
                assert {name if name != "file_name" else "image" for name in row} == features.keys()
                found.append({**row, "caption": row["text"], "data": (folder / row["file_name"]).read_bytes()})
        elif path.suffix == ".parquet":
            table = pq.read_table(path)
            assert set(table.column_names) <= features.keys()
            found += [{**row, "caption": row["prompt"], "data": row["image"]["bytes"]} for row in table.to_pylist()]
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_folder_opens_what_records_name_and_nothing_else(made: Make, layout: str) -> None:
    folder = made(layout)
    rows = samples(folder)
    records = darkroom.open_run(folder).records
    records = records[records.status == "ok"]
    assert len(rows) == len(records) == 20
    by_id = records.set_index("image_id")
    for row in rows:
        record = by_id.loc[row["image_id"]]
        assert (row["caption"], row["prompt_id"]) == (record.prompt, record.prompt_id)
        assert row["kind"] == (record.kind if row["prompt_id"] == "p9" else None)
        assert row["source_text"] == "x"
        assert row["data"].startswith(b"\x89PNG")
    assert "2 records have no image: invalid" in (folder / CARD_KEY).read_text()


def copy_of(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / "run"))


def opened(folder: Path) -> darkroom.Run:
    return darkroom.open_run(folder)


def write(folder: Path) -> run_folder.FolderCard:
    run = opened(folder)
    return write_folder_card(run.store, run.info, run.cells)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_leftovers_of_attempts_are_not_opened(made: Make, tmp_path: Path, layout: str) -> None:
    folder = copy_of(made(layout), tmp_path)
    first = next(path for path in sorted((folder / "images").rglob("*")) if path.is_file())
    shutil.copy(first, first.with_stem(f"{first.stem}-0123456789abcdef"))
    assert write(folder).num_images == len(samples(folder)) == 20


@pytest.mark.parametrize("layout", ["webdataset", "parquet"])
def test_each_cell_of_a_sweep_opens_by_itself(made: Make, layout: str) -> None:
    folder = made(layout)
    records = opened(folder).records
    for cell_id in opened(folder).cells:
        ids = {row["image_id"] for row in samples(folder, cell_id)}
        assert ids == {*records[(records.cell_id == cell_id) & (records.status == "ok")].image_id}


@pytest.mark.parametrize("layout", ["webdataset", "parquet"])
def test_a_column_that_differs_beside_an_image_is_damage(made: Make, tmp_path: Path, layout: str, capsys) -> None:
    folder = copy_of(made(layout), tmp_path)
    path = next(each for each in sorted((folder / "images").iterdir()) if b"p9" in each.read_bytes())
    before = path.read_bytes()
    place = before.index(b"late")
    path.write_bytes(before[:place] + b"l8te" + before[place + 4 :])
    assert run_here("verify", f"run={folder}", "stored=true") == 1
    assert "the text stored beside it differs" in capsys.readouterr().out
    assert run_here("repair", f"run={folder}") == 0
    assert path.read_bytes() == before


def as_older(folder: Path) -> None:
    """As a version wrote it that put no columns beside images."""
    value = json.loads((folder / "run.json").read_text())
    del value["output"]["own_columns"]
    (folder / "run.json").write_text(json.dumps(value))
    for path in (folder / "metadata").rglob("*.parquet"):
        table = pq.read_table(path)
        about = {**table.schema.metadata}
        said = json.loads(about[b"darkroom.run"])
        del said["output.own_columns"]
        about[b"darkroom.run"] = json.dumps(said).encode()
        pq.write_table(table.replace_schema_metadata(about), path)


@pytest.mark.parametrize("layout", ["webdataset", "parquet"])
def test_a_run_that_is_older_than_these_columns_goes_on_without(made: Make, tmp_path: Path, layout: str) -> None:
    folder = copy_of(made(layout), tmp_path)
    as_older(folder)
    shutil.rmtree(folder / "images")
    shutil.rmtree(folder / "metadata")
    prompts = made(layout).parent / "prompts.jsonl"
    shutil.copy(prompts, tmp_path / "prompts.jsonl")
    rows = [json.loads(line) for line in prompts.read_text().splitlines()]
    generate(tmp_path, layout, rows=rows)
    found = samples(folder)
    assert len(found) == 20
    assert not any("prompt_id" in row for row in found)
    assert run_here("verify", f"run={folder}", "stored=true") == 0


def test_a_page_of_somebody_else_stays(made: Make, tmp_path: Path) -> None:
    folder = copy_of(made("files"), tmp_path)
    (folder / CARD_KEY).write_text("mine")
    assert "is not Darkroom's, and stays" in write(folder).why_not
    assert (folder / CARD_KEY).read_text() == "mine"


def test_a_page_of_other_images_is_told_and_mended(made: Make, tmp_path: Path, capsys) -> None:
    folder = copy_of(made("files"), tmp_path)
    for path in (folder / "metadata").rglob("*.parquet"):
        path.unlink()
        break
    assert run_here("verify", f"run={folder}", "stored=true") == 0
    assert "is not of the images that the run has" in capsys.readouterr().out
    assert run_here("repair", f"run={folder}") == 0
    assert len(samples(folder)) == len(opened(folder).records) - (opened(folder).records.status != "ok").sum()


def test_what_would_open_slowly_has_no_page(made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy_of(made("webdataset"), tmp_path)
    (folder / CARD_KEY).unlink()
    monkeypatch.setattr(run_folder, "MOST_CONTAINERS", 2)
    assert "more than 2 webdataset files" in write(folder).why_not
    assert not (folder / CARD_KEY).exists()


@pytest.mark.parametrize("layout", ["files", "parquet"])
def test_rows_that_came_later_may_have_more_columns(tmp_path: Path, layout: str) -> None:
    generate(tmp_path, layout, rows=ROWS[:4], job="generate")
    more = [{**row, "mood": "glad"} for row in ROWS[:6]]
    folder = generate(tmp_path, layout, "prompts.grow=true", rows=more, job="generate")
    moods = {row["prompt_id"]: row.get("mood") for row in samples(folder)}
    assert moods == {f"p{number}": "glad" if number > 3 else None for number in range(6)}
    opened(folder).export(tmp_path / "set")
    table = pq.read_table(tmp_path / "set" / "data").to_pylist()
    assert {row["prompt_id"]: row["mood"] for row in table} == moods
