"""What a run's page says of the prompts that it was rendered with."""

from pathlib import Path

import pytest

import darkroom
from darkroom.api import preflight
from darkroom.api.preflight import run_preflight

PROMPTS = [
    {"prompt": f"a red circle {number}", "kind": "round", "guidance_scale": 1.0 + number % 2} for number in range(200)
]
PROMPTS[3] = {"prompt": "a red circle 2", "kind": None}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> darkroom.Run:
    folder = tmp_path_factory.mktemp("preflight")
    given = {"model": "paint", "out": folder / "run", "height": 16, "width": 16, "num_images_per_prompt": 2}
    return darkroom.generate([*PROMPTS, {"prompt": ""}], on_invalid="record", **given)


def test_it_says_of_records_what_a_plan_says_of_prompts(run: darkroom.Run) -> None:
    said = run_preflight(run, ["circle 7"])
    assert (said["num_rows"], said["num_looked_at"], said["num_invalid"]) == (201, 200, 1)
    assert said["repeats"]["examples"] == [[2, "a red circle 2"]]
    assert said["words"]["num_rows"] == 1
    balance = {each["column"]: each for each in said["balance"]}
    assert balance["kind"]["values"] == [["round", 199]]
    assert {value for value, _ in balance["guidance_scale"]["values"]} == {"1.0", "2.0", "5.0"}


def test_of_a_long_run_shards_at_equal_distances_are_looked_at(
    run: darkroom.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "MOST_OF_RUN", 70)
    said = run_preflight(run, [])
    assert (said["num_rows"], said["num_looked_at"]) == (201, 72)


def test_the_page_has_it_folded_away(run: darkroom.Run, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("circle 7\n")
    run.report(out=tmp_path / "page", words=tmp_path / "words.txt")
    page = (tmp_path / "page" / "index.html").read_text()
    assert "<details><summary>200 prompts; repeats: 1" in page
    assert "with words of the list: 1" in page
    assert (tmp_path / "page" / "found.css").is_file()
