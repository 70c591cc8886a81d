"""Runs whose images are the pictures of another run, by the painter: traced, resumed, grown, and refused by name."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import darkroom
from darkroom.api.events import Warned
from darkroom.api.maintenance import retry
from darkroom.api.options import EngineOptions
from darkroom.api.verification import verify
from darkroom.domain.errors import DarkroomError
from darkroom.reporting.edits import edits
from darkroom.runs.images import first_images
from tests.jobs.helpers import copied, run_here

ROWS = [{"prompt": f"prompt {n}", "negative_prompt": "gray" if n == 1 else None, "kind": n} for n in range(3)]
FIRST: dict[str, Any] = {"height": 16, "width": 24, "num_images_per_prompt": 2}
PAINT: dict[str, Any] = {"model": "paint", "engine": EngineOptions(kind="local", shard_size=2)}


def first_stage(out: Path, **said: Any) -> darkroom.Run:
    return darkroom.generate(ROWS, out=out, **{**PAINT, **FIRST, **said})


def second_stage(first: Path | str, out: Path, **said: Any) -> darkroom.Run:
    return darkroom.generate(darkroom.from_files(first, "run"), out=out, strength=0.5, **{**PAINT, **said})


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> darkroom.Run:
    return first_stage(tmp_path_factory.mktemp("stages") / "first")


@pytest.fixture(scope="module")
def second(first: darkroom.Run) -> darkroom.Run:
    """By the command."""
    out = Path(first.uri).parent / "second"
    words = ("model=paint", "engine=local", "engine.shard_size=2", "sampling.strength=0.5")
    assert run_here("generate", *words, "prompts=run", f"prompts.uri={first.uri}", f"output.uri={out}") == 0
    return darkroom.open_run(out)


def made(run: darkroom.Run) -> pd.DataFrame:
    names = ["image_id", "prompt_id", "sha256", "image", "image_sha256", "status", "source_image_id"]
    return run.records.sort_values("image_id")[names].reset_index(drop=True)


def check_traced(first: darkroom.Run, second: darkroom.Run) -> None:
    """Each image of the first is the picture of one of the second, which has its words and columns."""
    both = second.records.merge(first.records, left_on="source_image_id", right_on="image_id", suffixes=("", "_before"))
    assert len(both) == len(first.records) == len(second.records) == 2 * len(ROWS)
    assert both["image_sha256"].equals(both["pixels_sha256_before"].rename("image_sha256"))
    for name in ("prompt", "negative_prompt", "kind", "height", "width"):
        assert both[name].equals(both[f"{name}_before"].rename(name))
    ids = both["prompt_id_before"] + "#" + both["sample_index_before"].astype(str)
    assert both["prompt_id"].tolist() == ids.tolist()
    assert both["source_prompt_id"].tolist() == both["prompt_id_before"].tolist()
    assert set(both["seed"]).isdisjoint(both["seed_before"])


def test_each_image_is_the_picture_of_one_and_records_say_of_which(first: darkroom.Run, second: darkroom.Run) -> None:
    check_traced(first, second)
    assert verify(second, print).num_equal == 6


@pytest.mark.slow
def test_images_in_tars(first: darkroom.Run, second: darkroom.Run, tmp_path: Path) -> None:
    tars = first_stage(tmp_path / "tars", layout="webdataset")
    of_tars = second_stage(tars.uri, tmp_path / "second")
    check_traced(tars, of_tars)
    assert set(made(of_tars)["source_image_id"]) == set(made(second)["source_image_id"])


def test_a_page_shows_both(second: darkroom.Run) -> None:
    found = edits(second.store, second.info, [file.record for file in first_images(second.store, 6)])
    assert (len(found.shown), found.notes) == (6, ())


@pytest.mark.slow
def test_a_second_stage_that_was_cut_off_ends_as_one_that_was_not_wherever_the_first_lies_then(
    first: darkroom.Run, second: darkroom.Run, tmp_path: Path
) -> None:
    cut = second_stage(first.uri, tmp_path / "cut")
    for prefix, count in (("metadata/", 2), ("images/", 3)):
        cut.store.delete([info.key for info in list(cut.store.list(prefix))[:count]])
    assert len(cut.records) == 2
    moved = copied(first.store, str(tmp_path / "moved"))
    assert made(second_stage(moved.spec.uri, tmp_path / "cut")).equals(made(second))


@pytest.mark.slow
def test_a_first_stage_that_goes_on_lets_the_second_grow(
    first: darkroom.Run, second: darkroom.Run, tmp_path: Path
) -> None:
    begun = first_stage(tmp_path / "first")
    begun.store.delete([[*begun.store.list("metadata/")][-1].key])  # as if it had been killed
    said: list[object] = []
    assert len(second_stage(begun.uri, tmp_path / "second", progress=said.append).records) == 4
    assert any(
        isinstance(each, Warned) and "1 of 2 shards of this run are not rendered yet" in each.text for each in said
    )
    first_stage(tmp_path / "first")
    with pytest.raises(DarkroomError, match="with rows added and grow=True"):
        second_stage(begun.uri, tmp_path / "second")
    assert made(second_stage(begun.uri, tmp_path / "second", grow=True)).equals(made(second))


@pytest.mark.slow
def test_an_image_that_changed_since_is_one_failed_row_until_it_is_back(tmp_path: Path) -> None:
    first = first_stage(tmp_path / "first")
    keys = first.records["key"].tolist()
    before = first.store.get(keys[0])
    first.store.put(keys[0], first.store.get(keys[1]))
    second = second_stage(first.uri, tmp_path / "second")
    [error] = second.records.query("status == 'failed'")["error"]
    assert error.startswith(f"image={keys[0]}#sha256=")
    assert error.endswith("its bytes are others than that by now; bring them back")
    first.store.put(keys[0], before)
    assert retry(second, EngineOptions(), print).by_status == {"ok": 6}
    check_traced(first, darkroom.open_run(second.uri))


def test_images_that_failed_are_no_rows_and_a_third_stage_keeps_where_the_second_came_from(
    second: darkroom.Run, tmp_path: Path
) -> None:
    broken = darkroom.generate(
        [{"prompt": "a", "image": "none.png"}, {"prompt": "b", "image": None}], out=tmp_path / "broken",
        images_uri=tmp_path, **PAINT,
    )  # fmt: skip
    prompts = darkroom.from_files(broken.uri, "run")
    assert prompts.dataset.scan(1).num_rows == 1
    assert any("1 images of this run failed, or were refused" in each for each in prompts.dataset.scan(1).warnings)
    third = darkroom.from_files(second.uri, "run").dataset.scan(1).extras_schema.names
    assert {"source_image_id", "source_source_image_id", "kind"} <= set(third)


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refused")
    rows, size = ["a"], {"height": 16, "width": 16}
    darkroom.sweep(rows, axes={"guidance_scale": [1, 3]}, out=folder / "sweep", **PAINT, **size)
    darkroom.generate(rows, out=folder / "parquet", layout="parquet", **PAINT, **size)
    darkroom.generate(rows, out=folder / "video", video_format="zip", num_frames=5, **PAINT, **size)
    return folder


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("none", "none does not exist"),
        (
            "sweep",
            r"sweep: the run has 2 cells; write .*sweep#<cell_id> with one of [0-9a-f]{16} \(guidance_scale=1.0\)",
        ),
        ("sweep#0123456789abcdef", r"the run has no cell 0123456789abcdef; write .*/sweep#<cell_id> with one of "),
        (
            "parquet",
            "its images lie in files of layout=parquet, where they have no names; give a run with layout=files",
        ),
        ("video", "the run is of videos, and images are made from pictures"),
        ("", "prompts is not set; give the folder or address of a run"),
    ],
)
def test_what_has_no_pictures_is_refused_by_name(refused: Path, uri: str, words: str) -> None:
    with pytest.raises(DarkroomError, match=words):
        darkroom.from_files(f"{refused}/{uri}" if uri else "", "run")


def test_one_cell_of_several(refused: Path, tmp_path: Path) -> None:
    sweep = darkroom.open_run(refused / "sweep")
    cell_id = list(sweep.cells)[1]
    second = second_stage(f"{sweep.uri}#{cell_id}", tmp_path / "second")
    [source] = second.records["source_image_id"]
    assert sweep.records.set_index("image_id").loc[source, "cell_id"] == cell_id


@pytest.mark.slow
def test_a_first_run_in_a_bucket(s3_endpoint: str, tmp_path: Path) -> None:
    uri = f"s3://bucket/{tmp_path.name}-first"
    first = first_stage(uri, endpoint_url=s3_endpoint)  # type: ignore[arg-type]
    prompts = darkroom.from_files(uri, "run", prompts_endpoint_url=s3_endpoint)
    second = darkroom.generate(prompts, out=tmp_path / "second", **PAINT)
    check_traced(first, second)
    assert verify(second, print).num_equal == 6
