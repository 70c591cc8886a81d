"""A run as Python has it: records, images, figures, failures, and how it shows itself."""

import html
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

import darkroom
from darkroom.api.events import Warned
from darkroom.api.run import Run
from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import IMAGE_SETTINGS
from darkroom.evaluation.figures import put_evaluation, read_evaluations
from tests.reporting.runs import cell, rendered

SIZE = {"height": 16, "width": 16}
PROMPTS = [{"prompt": f"prompt {number}", "kind": "even" if number % 2 == 0 else "odd"} for number in range(6)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    axes = {"guidance_scale": [1, 3]}
    darkroom.sweep(
        PROMPTS, model="paint", out=out, axes=axes, engine=darkroom.EngineOptions(shard_size=4), evaluate=True, **SIZE
    )
    return out


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Run:
    """One that a test may spoil."""
    return darkroom.open_run(shutil.copytree(made, tmp_path / "run"))


@pytest.mark.slow
def test_records_are_a_table_with_the_prompts_other_columns(run: Run) -> None:
    records = run.records
    assert len(records) == 12
    assert set(records["kind"]) == {"even", "odd"}
    assert run.table(["prompt"]).column_names == ["prompt"]
    assert list(run.cells) == list(dict.fromkeys(info.cell.cell_id for info in run.cells.values()))


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["files", "webdataset", "parquet"])
def test_images_are_found_by_what_records_say(layout: str, tmp_path: Path) -> None:
    run = darkroom.generate(PROMPTS, model="paint", out=tmp_path / "run", layout=layout, **SIZE)
    [image] = run.images(prompt="prompt 3")
    assert isinstance(image, Image.Image)
    record = image.info["record"]
    assert (record.prompt, image.size) == ("prompt 3", (16, 16))
    assert run.image(record.image_id).tobytes() == image.tobytes()
    assert [image.info["record"].prompt for image in run.images(kind="odd")] == ["prompt 1", "prompt 3", "prompt 5"]
    assert sum(1 for _ in run.images()) == 6


@pytest.mark.slow
def test_images_of_one_cell(run: Run) -> None:
    cell = next(iter(run.cells))
    assert {image.info["record"].cell_id for image in run.images(cell=cell)} == {cell}
    assert {image.info["record"].sampling.guidance_scale for image in run.images(guidance_scale=3)} == {3.0}


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"guidance": 3}, "no column of the records 'guidance'; did you mean guidance_scale?"),
        ({"seed": "many"}, "seed='many': the column is int64"),
        ({"cell": "zzz"}, "cell: no cell of this run 'zzz'; there are [0-9a-f]+, "),
        ({"status": "failed"}, "status='failed': only images that are ok"),
    ],
)
def test_a_column_that_is_none_is_refused(run: Run, where: dict, words: str) -> None:
    with pytest.raises(DarkroomError, match=words):
        list(run.images(**where))


def test_a_column_that_no_record_has_is_refused(run: Run) -> None:
    assert run.table(["kind", "seed"]).num_rows == 12
    with pytest.raises(DarkroomError, match=r"columns: no column of the records 'kin'; did you mean kind\?"):
        run.table(["prompt", "kin"])


def test_one_column_may_be_a_name(run: Run) -> None:
    assert run.table("prompt").equals(run.table(["prompt"]))
    with pytest.raises(DarkroomError, match=r"columns: no column of the records 'kin'; did you mean kind\?"):
        run.table("kin")


@pytest.mark.slow
def test_settings_that_a_run_is_older_than_are_as_its_cells_have_them(tmp_path: Path) -> None:
    prompts = [f"prompt {number}" for number in range(6)]
    run = Run(*rendered(tmp_path / "run", prompts, [cell(guidance_stop=0.5), cell()]))
    later = [each.name for each in IMAGE_SETTINGS if each.has_neutral]
    for path in (tmp_path / "run" / "metadata").rglob("*.parquet"):
        pq.write_table(pq.ParquetFile(path).read().drop_columns(later), path)
    assert run.table(["guidance_rescale"]).to_pydict() == {"guidance_rescale": [0.0] * 12}
    assert sorted(run.table("guidance_stop")["guidance_stop"].to_pylist()) == [0.5] * 6 + [1.0] * 6
    assert set(run.records["cache_interval"]) == {1}
    assert {each.info["record"].sampling.guidance_stop for each in run.images(guidance_stop=0.5)} == {0.5}
    assert sum(1 for _ in run.images(cache_interval=1)) == 12


def test_an_image_that_is_not_there_is_named(run: Run) -> None:
    with pytest.raises(DarkroomError, match="image_id=None: give the id"):
        run.image(None)  # type: ignore[arg-type]
    with pytest.raises(DarkroomError, match="no image 00ff is committed"):
        run.image("00ff")
    record = next(run.images()).info["record"]
    (Path(run.uri) / record.key).write_bytes(b"spoiled")
    with pytest.raises(DarkroomError, match=f"image {record.image_id} .*not what was committed; repair the run"):
        run.image(record.image_id)


def test_figures_are_those_of_the_latest_evaluation(run: Run) -> None:
    assert {len(figures) for figures in run.figures.values()} == {len(run.metrics)}
    before = run.figures
    result = run.evaluate(metrics=["clip_score"], seed=1)
    assert set(result.evaluation.metrics) == {"demo_clip.clip_score"}
    assert "demo_clip.clip_score" in result.table
    for cell_id, figures in run.figures.items():
        assert figures["demo_clip.clip_score"].value == before[cell_id]["demo_clip.clip_score"].value
        assert figures.keys() == before[cell_id].keys()


@pytest.mark.slow
def test_what_was_expected_of_a_rendering_is_in_its_run(tmp_path: Path) -> None:
    expect = [darkroom.Expectation("demo_clip.clip_score", lowest=1e6)]
    calls = (darkroom.generate, lambda *given, **named: darkroom.sweep(*given, axes={"guidance_scale": [1]}, **named))
    for number, call in enumerate(calls):
        out = tmp_path / str(number)
        run = call(PROMPTS, model="paint", out=out, evaluate={"metrics": ["clip_score"], "expect": expect}, **SIZE)
        assert run.evaluation is not None
        assert not run.evaluation.is_good
        [verdict] = run.evaluation.verdicts
        assert verdict.value == run.figures[verdict.cell_id]["demo_clip.clip_score"].value
        assert darkroom.open_run(out).evaluation is None


def test_runs_are_keys(run: Run) -> None:
    again = darkroom.open_run(run.uri)
    assert run in {run}
    assert hash(run) == hash(again)


def test_a_figure_that_was_defined_otherwise_before_is_left_out(run: Run) -> None:
    name = "demo_clip.clip_score"
    [found] = read_evaluations(run.store)
    first, second = found.cells
    metrics = {name: replace(found.metrics[name], convention="x100: 100 times the cosine")}
    cells = {first: {name: found.cells[first][name]}}
    later = replace(found, created_at=f"{found.created_at}+", metrics=metrics, cells=cells, gaps={}, costs={})
    put_evaluation(run.store, "later", later)
    assert run.metrics[name] == metrics[name]
    assert name in run.figures[first]
    assert name not in run.figures[second]
    assert run.figures[second].keys() == found.cells[second].keys() - {name}


def test_cells_of_a_run_are_compared(run: Run) -> None:
    first, second = run.cells
    same = run.compare(run, a_cell=first, b_cell=first, metrics=["demo_clip.clip_score"])
    assert same.worse == []
    found = darkroom.compare(run, f"{run.uri}#{second}", a_cell=first, metrics=["demo_clip.clip_score"])
    assert found.differences["demo_clip.clip_score"].num_pairs == 6
    with pytest.raises(DarkroomError, match=r"a=.*the run has 2 cells; write .*#<cell_id>"):
        run.compare(run)


@pytest.mark.slow
def test_a_report_is_written(run: Run, tmp_path: Path) -> None:
    assert Path(run.report().place).is_file()
    assert Path(run.report(out=tmp_path / "page", num_prompts=2).place).parent == tmp_path / "page"


@pytest.mark.slow
def test_the_call_that_a_report_shows_makes_the_same_run(run: Run) -> None:
    run.report()
    page = (Path(run.uri) / "report" / "index.html").read_text()
    [call] = re.findall(r"<code>(darkroom\.sweep\(.*\))</code>", html.unescape(page))
    again = eval(call, {"darkroom": darkroom, "prompts": PROMPTS})
    assert (again.uri, again.info, again.cells) == (run.uri, run.info, run.cells)
    assert again.records["created_at"].tolist() == run.records["created_at"].tolist()


def test_the_status_says_what_is_left_and_what_failed(run: Run) -> None:
    assert run.status().is_finished
    assert run.status().by_status == {"ok": 12}
    next(Path(run.uri).glob("metadata/*/*.parquet")).unlink()
    status = run.status()
    assert (status.num_committed, status.num_shards, status.is_finished) == (3, 4, False)
    assert status.num_rows_left in (2, 4)


@pytest.mark.slow
def test_failures_are_records_with_their_reason(tmp_path: Path) -> None:
    rows = [{"prompt": "fine"}, {"prompt": ""}]
    run = darkroom.generate(rows, model="paint", out=tmp_path / "run", on_invalid="record", **SIZE)
    [failure] = run.failures
    assert (failure.status, failure.row) == ("invalid", 1)
    assert failure.error
    assert sum(1 for _ in run.images()) == 1


@pytest.mark.slow
def test_where_no_prompt_can_be_rendered_nothing_is_measured(tmp_path: Path) -> None:
    said: list[object] = []
    named = {"model": "paint", "out": tmp_path / "run", "on_invalid": "record", "evaluate": True}
    run = darkroom.generate([None], progress=said.append, **named, **SIZE)
    assert (len(run.failures), run.evaluation) == (1, None)
    assert [event.text for event in said if isinstance(event, Warned)][-1].startswith("no image is committed")


@pytest.mark.slow
def test_a_run_shows_itself_as_a_contact_sheet(run: Run) -> None:
    shown = run._repr_html_()
    assert "data:image/webp;base64," in shown
    assert "2 cells, 12 ok, finished" in shown
    assert len(shown) < 200_000
    assert repr(run).startswith("<darkroom run ")


@pytest.mark.slow
def test_an_empty_a_spoiled_and_a_lost_run_show_themselves_too(run: Run) -> None:
    record = next(run.images()).info["record"]
    (Path(run.uri) / record.key).write_bytes(b"spoiled")
    assert "data:image/webp" in run._repr_html_()
    for path in Path(run.uri).glob("metadata/*/*.parquet"):
        path.unlink()
    assert "no image yet, 0 of 4 shards" in run._repr_html_()
    assert len(run.records) == 0
    assert "prompt" in run.records.columns
    assert run.failures == list(run.images()) == []
    (Path(run.uri) / "metadata" / record.cell_id).mkdir(exist_ok=True)
    name = f"{0:012d}-{4:012d}-{record.shard_id}.parquet"
    (Path(run.uri) / "metadata" / record.cell_id / name).write_bytes(b"no parquet")
    assert "not readable" in run._repr_html_()
    assert "not readable" in repr(run)


def test_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(DarkroomError, match="nowhere does not exist"):
        darkroom.open_run(tmp_path / "nowhere")


def test_an_endpoint_of_what_lies_in_a_folder_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a\n")
    server = "http://127.0.0.1:1"
    for call, said in (
        (lambda: darkroom.open_run(run.uri, endpoint_url=server), "endpoint_url is for an object store, and run is"),
        (lambda: darkroom.compare(run.uri, run.uri, endpoint_url=server), "endpoint_url is for an object store"),
        (lambda: darkroom.plan(tmp_path / "p.txt", prompts_endpoint_url=server, model="paint", **SIZE),
         "prompts_endpoint_url is for an object store, and prompts is"),
        (lambda: run.evaluate(reference=str(tmp_path), reference_endpoint_url=server), "reference_endpoint_url is for"),
    ):  # fmt: skip
        with pytest.raises(DarkroomError, match=f"^{said}"):
            call()


def test_runs_of_one_place_are_equal(run: Run) -> None:
    assert darkroom.open_run(run.uri) == run
    assert len({run, darkroom.open_run(run.uri)}) == 1
