"""Several commands that render one run side by side, each a part of it."""

import json
from pathlib import Path

import pytest

from darkroom.api.options import EngineOptions
from darkroom.domain.errors import DarkroomError
from darkroom.runs.reading import records
from darkroom.storage.store import open_store, parse_spec
from tests.jobs.helpers import PAINT, run_here


def prompts_file(folder: Path, count: int = 10) -> str:
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"p{number}"}) + "\n" for number in range(count)))
    return str(path)


def words(folder: Path, part: str | None = None, **given: str) -> list[str]:
    return [
        *PAINT, "prompts=file", f"prompts.uri={prompts_file(folder)}", f"output.uri={folder / 'run'}",
        "engine.shard_size=2", *([f"engine.part={part}"] if part else []),
        *(f"{name}={value}" for name, value in given.items()),
    ]  # fmt: skip


def rows(folder: Path) -> list[int]:
    return sorted(record.row for record in records(open_store(parse_spec(str(folder / "run")))))


@pytest.mark.slow
def test_parts_make_up_the_run_and_no_row_twice(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run_here("generate", *words(tmp_path, "2/2")) == 0
    assert rows(tmp_path) == [2, 3, 6, 7]
    assert run_here("generate", *words(tmp_path, "1/2")) == 0
    assert rows(tmp_path) == list(range(10))
    assert "6 images rendered" in capsys.readouterr().out
    assert run_here("generate", *words(tmp_path)) == 0  # all of it is there
    assert "0 images rendered" in capsys.readouterr().out


@pytest.mark.slow
def test_parts_of_a_sweep_divide_rows_and_not_cells(tmp_path: Path) -> None:
    for part in ("1/2", "2/2"):
        assert run_here("sweep", *words(tmp_path, part), "grid.axes.guidance_scale=[1,4]") == 0
    assert rows(tmp_path) == sorted([*range(10), *range(10)])


@pytest.mark.slow
def test_the_part_that_ends_last_measures_the_run(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    measured = {"evaluate": "inline", "evaluation.extractors": "[demo_clip]"}
    assert run_here("generate", *words(tmp_path, "1/2", **measured)) == 0
    assert "the part that ends last measures" in capsys.readouterr().out
    assert run_here("generate", *words(tmp_path, "2/2", **measured)) == 0
    assert "clip_score" in capsys.readouterr().out


def test_more_parts_than_shards_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DarkroomError, match=r"engine\.part=1/6: the run's prompts are 5 shards of 2 rows"):
        run_here("generate", *words(tmp_path, "1/6"))


def test_halving_needs_all_of_a_run(tmp_path: Path) -> None:
    with pytest.raises(DarkroomError, match=r"engine\.part=1/2: halving drops cells"):
        run_here("sweep", *words(tmp_path, "1/2"), "grid.axes.guidance_scale=[1,4]", "evaluate=inline",
                 "halving.figure=demo_clip.clip_score", "halving.num_images=2")  # fmt: skip


@pytest.mark.slow
def test_a_ray_job_needs_a_place_that_outlives_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    monkeypatch.chdir(tmp_path)
    given = [word for word in words(tmp_path) if not word.startswith("output.uri")]
    with pytest.raises(DarkroomError, match=r"output\.uri=runs/\.\.\.: inside a Ray job a relative folder"):
        run_here("generate", *given)
    with pytest.raises(DarkroomError, match=r"output\.uri=here: inside a Ray job"):
        run_here("generate", *given, "output.uri=here")
    assert run_here("generate", *words(tmp_path)) == 0


def test_parts_are_read_by_their_number() -> None:
    assert EngineOptions(part="3/8").part_of == (3, 8)
    assert EngineOptions().part_of == (1, 1)
