"""Prompts to which rows were added: a run grows by these, and keeps what it has."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

import darkroom
from darkroom.api.events import RenderingStarted
from darkroom.domain.errors import DarkroomError
from darkroom.runs.opening import shards_of
from darkroom.runs.run import grow, open_run
from darkroom.storage.store import Store, StoreSpec, open_store
from tests.jobs.helpers import PAINT, run_here

OLD = [f"a small red circle {number}" for number in range(10)]
NEW = ["a blue square", "a green star", "a blue square"]
CELLS = "grid.axes.guidance_scale=[1,3]"


@pytest.fixture(params=["disk", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "disk":
        return open_store(StoreSpec(str(tmp_path / "run")))
    return open_store(StoreSpec(f"s3://bucket/{tmp_path.name}", request.getfixturevalue("s3_endpoint")))


def render(store: Store, prompts: Path, *words: str, job: str = "generate") -> int:
    to = [f"output.uri={store.spec.uri}"]
    to += [f"output.endpoint_url={store.spec.endpoint_url}"] if store.spec.endpoint_url else []
    return run_here(job, *PAINT, "prompts=file", f"prompts.uri={prompts}", *to, "engine.shard_size=4", *words)


def written(path: Path, prompts: Sequence[str]) -> Path:
    path.write_text("\n".join(prompts) + "\n")
    return path


def objects(store: Store, *below: str) -> dict[str, bytes]:
    return {info.key: store.get(info.key) for name in below for info in store.list(name)}


def committed(store: Store) -> pd.DataFrame:
    """What a finished run's records say of its images."""
    run = darkroom.open_run(store.spec.uri, endpoint_url=store.spec.endpoint_url)
    assert run.status().num_rows_left == 0
    columns = ["image_id", "prompt_id", "prompt", "row", "sha256", "cell_id", "status"]
    return run.records[columns].sort_values("image_id").reset_index(drop=True)


@pytest.mark.slow
def test_rows_that_were_appended_are_rendered_and_what_is_there_stays(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts, two = written(tmp_path / "p.txt", OLD), "sampling.num_images_per_prompt=2"
    assert render(store, prompts, two) == 0
    store.delete([next(iter(store.list("metadata/"))).key])  # as if the run had been killed
    before = objects(store, "images/", "metadata/")
    written(prompts, [*OLD, *NEW])
    with pytest.raises(DarkroomError, match=r"fingerprint.*prompts\.grow=true"):
        render(store, prompts, two)
    capsys.readouterr()
    assert render(store, prompts, two, "prompts.grow=true") == 0
    assert "the run's 10 rows are all there; it grows by 3 more" in capsys.readouterr().out
    assert before.items() <= objects(store, "images/", "metadata/").items()
    fresh = open_store(StoreSpec(str(tmp_path / "fresh")))
    render(fresh, prompts, two)
    assert committed(store).equals(committed(fresh))
    after = objects(store, "images/", "metadata/", "run.json")
    assert render(store, prompts, two) == 0  # the run's prompts are these now
    assert objects(store, "images/", "metadata/", "run.json") == after
    with pytest.raises(DarkroomError, match=r"was grown to 13 rows .* \(10 rows of"):
        render(store, written(tmp_path / "old.txt", OLD), two)


@pytest.mark.slow
@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_rows_may_be_in_any_order_and_all_cells_of_a_sweep_grow_time_and_again(store: Store, tmp_path: Path) -> None:
    assert render(store, written(tmp_path / "p.txt", OLD), CELLS, job="sweep") == 0
    before = objects(store, "images/", "metadata/")
    mixed = [NEW[0], *reversed(OLD), *NEW[1:]]
    assert render(store, written(tmp_path / "mixed.txt", mixed), CELLS, "prompts.grow=true", job="sweep") == 0
    assert before.items() <= objects(store, "images/", "metadata/").items()
    more = written(tmp_path / "more.txt", [*mixed, "a yellow cross"])
    assert render(store, more, CELLS, "prompts.grow=true", job="sweep") == 0
    keys = [info.key for info in store.list("metadata/")]
    store.delete([keys[0], keys[3]])  # of rows that began the run and are elsewhere by now, and of rows that came later
    assert render(store, more, CELLS, job="sweep") == 0
    fresh = open_store(StoreSpec(str(tmp_path / "fresh")))
    render(fresh, more, CELLS, job="sweep")
    grown, whole = (committed(each).drop(columns="row") for each in (store, fresh))
    assert grown.equals(whole)
    about = json.loads(store.get("run.json"))
    assert [each["num_rows"] for each in (*about["earlier_prompts"], about["prompts"])] == [10, 13, 14]


@pytest.mark.slow
def test_rows_in_another_form_are_the_same_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = open_store(StoreSpec(str(tmp_path / "run")))
    render(store, written(tmp_path / "p.txt", OLD))
    before = objects(store, "images/", "metadata/", "run.json")
    pd.DataFrame({"prompt": OLD}).to_parquet(tmp_path / "p.parquet")
    assert render(store, tmp_path / "p.parquet", "prompts.grow=true") == 0
    assert "none is new" in capsys.readouterr().out
    assert objects(store, "images/", "metadata/", "run.json") == before
    settings = {"model": "paint", "height": 16, "width": 16, "grow": True}
    told: list[object] = []
    run = darkroom.generate([*OLD, *NEW], out=tmp_path / "run", progress=told.append, **settings)
    assert [each.num_images for each in told if isinstance(each, RenderingStarted)] == [len(NEW)]
    assert run.records["prompt"].tolist() == [*OLD, *NEW]


@pytest.mark.slow
def test_rows_that_vanished_or_changed_are_named_and_nothing_is_changed(tmp_path: Path) -> None:
    store, path = open_store(StoreSpec(str(tmp_path / "run"))), tmp_path / "p.csv"
    rows = pd.DataFrame({"prompt": OLD, "prompt_id": [f"id{number}" for number in range(10)], "seed": range(10)})
    rows.to_csv(path, index=False)
    render(store, path)
    before = objects(store, "")
    changed = {
        r"1 row of the run is not in .*, the first of them 'a small red circle 3' \(prompt_id 'id3'\)": rows.drop(3),
        "row 4 has the prompt_id 'id4' of a row of the run, and another prompt": rows.replace(OLD[4], "a cat"),
        "row 5 has the prompt_id 'id5' of a row of the run, and another seed": rows.replace({"seed": {5: 7}}),
        "row 0 .* another height": rows.assign(height=32),
    }
    for words, frame in changed.items():
        pd.concat([frame, pd.DataFrame({"prompt": ["a dog"], "prompt_id": ["new"]})]).to_csv(path, index=False)
        with pytest.raises(DarkroomError, match=words):
            render(store, path, "prompts.grow=true")
    assert objects(store, "") == before
    store.delete([next(iter(store.list("metadata/"))).key])
    rows[::-1].to_csv(path, index=False)
    with pytest.raises(DarkroomError, match="1 of its shards are not rendered yet, so that their rows are not known"):
        render(store, path, "prompts.grow=true")


@pytest.mark.slow
def test_of_two_that_grow_a_run_at_once_one_is_first(store: Store, tmp_path: Path) -> None:
    render(store, written(tmp_path / "p.txt", OLD))
    found = open_run(store)
    files = [written(tmp_path / f"{name}.txt", [*OLD, name]) for name in ("one", "other")]
    ours, theirs = (each.info(each.dataset.scan(1)) for each in (darkroom.select(str(file)) for file in files))
    assert grow(store, found, ours).prompts == ours
    assert grow(store, found, ours).prompts == ours  # the same growth is no other one
    with pytest.raises(DarkroomError, match="another command changed this run"):
        grow(store, found, theirs)
    render(store, files[0])
    assert len(list(shards_of(store, found))) == 4  # as a command sees them that began before


@pytest.mark.slow
def test_an_order_that_is_lost_is_named(tmp_path: Path) -> None:
    store = open_store(StoreSpec(str(tmp_path / "run")))
    render(store, written(tmp_path / "p.txt", OLD))
    mixed = written(tmp_path / "mixed.txt", [*NEW, *reversed(OLD)])
    render(store, mixed, "prompts.grow=true")
    [key] = [info.key for info in store.list("prompts/")]
    store.delete([key])
    with pytest.raises(DarkroomError, match="order of the run's rows is missing or damaged"):
        render(store, mixed)


def test_a_run_that_grows_has_to_be_named() -> None:
    with pytest.raises(DarkroomError, match=r"give its folder as output\.uri"):
        run_here("generate", *PAINT, "prompts.grow=true")
