"""Sweeps and their evaluation, as a person starts them, with the paint model."""

import json
import signal
import time
from pathlib import Path

import pandas as pd
import pytest

from darkroom.api.run import open_run
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import image_seed
from darkroom.evaluation.figures import read_evaluations
from darkroom.runs.cells import read_cells, read_choices
from darkroom.runs.features import from_bytes, to_bytes
from darkroom.storage.store import Store, open_store, parse_spec
from tests.jobs.helpers import run_here
from tests.processes import Job


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    return ["model=paint", "engine=local", "engine.shard_size=16", f"output.uri={tmp_path / 'run'}"]


def store_at(folder: Path) -> Store:
    return open_store(parse_spec(str(folder / "run")))


def frame(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "run" / "metadata")


@pytest.mark.slow
def test_cells_share_noise_and_differ_in_what_the_axes_say(arguments, tmp_path: Path, capsys) -> None:
    axes = ["grid.axes.guidance_scale=[1,3]", "grid.axes.num_inference_steps=[5,10]"]
    assert run_here("sweep", *arguments, *axes) == 0
    said = capsys.readouterr().out
    assert "256 images: 4 cells of 64 prompts" in said
    assert "sampling.guidance_scale: 1.0, 3.0" in said
    assert "1 model load(s), for 1 model(s) and 4 cell(s)" in said
    rows = frame(tmp_path)
    assert len(rows) == rows["image_id"].nunique() == 256
    assert (rows.groupby("prompt_id")["seed"].nunique() == 1).all()
    assert set(zip(rows["guidance_scale"], rows["num_inference_steps"], strict=True)) == {
        (1.0, 5),
        (1.0, 10),
        (3.0, 5),
        (3.0, 10),
    }


@pytest.mark.slow
def test_seeds_and_numbers_of_images_are_axes_and_the_runs_own_are_called_as_ever(
    arguments, tmp_path: Path, capsys
) -> None:
    run_here("generate", *arguments)
    (plain,) = read_cells(store_at(tmp_path))
    before = frame(tmp_path)
    axes = ["grid.axes.seed=[0,7]", "grid.axes.num_images_per_prompt=[1,3]"]
    capsys.readouterr()
    assert run_here("sweep", *arguments, *axes, "evaluate=inline", "evaluation.extractors=[pixels]") == 0
    said = capsys.readouterr().out
    assert "512 images: 4 cells of 64 prompts (demo), noise of 2 seeds" in said
    assert "  sampling.num_images_per_prompt: 1, 3" in said
    assert "  sampling.seed: 0, 7" in said
    assert "share their prompt and not their noise" in said
    assert "\n448 images rendered" in said
    cells = read_cells(store_at(tmp_path))
    assert plain in cells
    rows = frame(tmp_path)
    assert set(before["image_id"]) == set(rows[rows["cell_id"] == plain]["image_id"])
    of_seed = {cell_id: info.cell.sampling.seed for cell_id, info in cells.items()}
    by_seed = rows[rows["sample_index"] == 0].groupby(rows["cell_id"].map(of_seed).fillna(0))
    assert [sorted(part["seed"].unique()) for _, part in by_seed] == [
        sorted(image_seed(seed, prompt_id, 0) for prompt_id in before["prompt_id"]) for seed in (0, 7)
    ]
    assert run_here("verify", f"run={tmp_path / 'run'}", "num_images=16") == 0
    assert run_here("report", f"run={tmp_path / 'run'}") == 0
    assert "Differences: images of cells with different seeds" in (tmp_path / "run/report/report.md").read_text()


@pytest.mark.slow
def test_what_the_model_says_stands_for_null_and_is_recorded(arguments, tmp_path: Path, capsys) -> None:
    own = [
        f"sampling.{name}=null" for name in ("scheduler", "guidance_scale", "num_inference_steps", "height", "width")
    ]
    assert run_here("sweep", *arguments, *own, "grid.axes.guidance_scale=[null,1,3]") == 0
    rows = frame(tmp_path)
    assert set(rows["guidance_scale"]) == {1.0, 3.0, 5.0}  # the painter's own is 5
    assert set(rows["num_inference_steps"]) == {20}
    assert set(rows["scheduler"]) == {"default"}


@pytest.mark.slow
def test_a_grid_that_grows_renders_the_new_cells_alone_and_one_that_shrinks_nothing(
    arguments, tmp_path: Path, capsys
) -> None:
    for values, rendered in (("[1,3]", 128), ("[1,3,5]", 64), ("[5]", 0), ("[5.0,1]", 0)):
        assert run_here("sweep", *arguments, f"grid.axes.guidance_scale={values}") == 0
        assert f"\n{rendered} images rendered" in capsys.readouterr().out
    assert len(read_cells(store_at(tmp_path))) == 3


@pytest.mark.slow
def test_one_model_is_loaded_once_a_model_and_worker(arguments, tmp_path: Path, capsys) -> None:
    cells = "grid.cells=[{repo_id: darkroom/paint},{repo_id: darkroom/demo, num_inference_steps: 1}]"
    assert run_here("sweep", *arguments, cells, "grid.axes.guidance_scale=[1,3]", "engine.batch_size=16") == 0
    said = capsys.readouterr().out
    assert "2 model load(s), for 2 model(s) and 4 cell(s)" in said
    assert set(frame(tmp_path)["model"]) == {"darkroom/paint", "darkroom/demo"}
    assert run_here("verify", f"run={tmp_path / 'run'}", "num_images=12") == 0


@pytest.mark.slow
def test_an_axis_of_models_has_presets(arguments, tmp_path: Path) -> None:
    assert run_here("sweep", *arguments, "grid.axes.repo_id=[paint]", "model=sd15") == 0
    [info] = read_cells(store_at(tmp_path)).values()
    assert (info.ref.repo_id, info.ref.variant) == ("darkroom/paint", None)
    with pytest.raises(DarkroomError, match=r"grid.axes.model: no such key .* did you mean grid.axes.repo_id\?"):
        run_here("sweep", *arguments, "grid.axes.model=[paint]")


@pytest.mark.slow
def test_a_killed_sweep_goes_on_where_it_was(arguments, tmp_path: Path) -> None:
    slow = ["engine.shard_size=4", "grid.axes.guidance_scale=[1,2,3,4,5,6]"]
    job = Job("sweep", [*arguments, *slow])
    while job.returncode is None and len(list((tmp_path / "run").glob("metadata/*/*.parquet"))) < 10:
        time.sleep(0.005)
    job.send_signal(signal.SIGKILL)
    job.end()
    assert job.returncode == -signal.SIGKILL, "it had ended before it was killed"
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("metadata/*/*.parquet")}
    assert run_here("sweep", *arguments, *slow) == 0
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("metadata/*/*.parquet")}
    assert len(after) == 96
    assert before.items() <= after.items()
    assert len(frame(tmp_path)) == 384


@pytest.mark.slow
@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ([], "grid.axes.guidance_scale"),
        (["grid.axes.scheduler=[ddim,flow_euler]"], "scheduler=flow_euler does not fit darkroom/paint"),
        (["grid.axes.num_inference_steps=[five]"], "num_inference_steps=five"),
        (["grid.axes.guidance_scale=[-1]"], "guidance_scale=-1"),
        (["grid.axes.guidance_scale=[]"], "has no value"),
        (["grid.cells=[{steps: 3}]"], "no setting 'steps' tells cells apart"),
        (["grid.axes.seed=[-1]"], "sampling.seed=-1 is out of range"),
        (["grid.axes.seed=[null]"], "seed=null: give a whole number"),
        (["grid.axes.height=[63]"], "sampling.height=63"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_before_anything_starts(arguments, tmp_path: Path, grid, words) -> None:
    with pytest.raises(DarkroomError, match="grid") as caught:
        run_here("sweep", *arguments, *grid)
    assert words in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_generate_refuses_a_folder_whose_cells_are_others(arguments) -> None:
    run_here("sweep", *arguments, "grid.axes.guidance_scale=[1,3]")
    assert run_here("generate", *arguments, "sampling.guidance_scale=3") == 0
    with pytest.raises(DarkroomError, match=r"sampling.guidance_scale is .* in this run and 4.0 in the command"):
        run_here("generate", *arguments, "sampling.guidance_scale=4")


@pytest.mark.slow
def test_inline_and_later_evaluations_give_equal_figures(arguments, tmp_path: Path, capsys) -> None:
    axes = "grid.axes.guidance_scale=[1,3]"
    assert run_here("sweep", *arguments, axes, "evaluate=inline", "evaluation.reference=demo") == 0
    controls = read_evaluations(store_at(tmp_path))[-1].controls
    assert controls["real"].note == "64 images of demo against its other 448"
    assert controls["real"].figures["demo_clip.coverage"].value > 0.4
    assert list(controls["shuffled prompts"].figures) == ["demo_clip.clip_score"]
    assert open_run(str(tmp_path / "run")).controls["real"] == controls["real"].figures
    inline = read_evaluations(store_at(tmp_path))[-1]
    for path in (tmp_path / "run" / "features").rglob("*.parquet"):
        path.unlink()
    capsys.readouterr()
    assert run_here("evaluate", f"run={tmp_path / 'run'}", "engine=local", "reference=demo") == 0
    said = capsys.readouterr().out
    assert "8 shards lack features of demo_clip" in said
    assert "demo_clip.clip_score" in said
    later = read_evaluations(store_at(tmp_path))[-1]
    assert later.cells == inline.cells
    assert later.metrics == inline.metrics
    capsys.readouterr()
    assert run_here("evaluate", f"run={tmp_path / 'run'}", "engine=local", "reference=demo") == 0
    assert "lack features" not in capsys.readouterr().out


SHARPNESS = "darkroom.evaluation.sharpness:make"


@pytest.mark.slow
def test_scorers_of_ones_own_are_evaluated_and_cells_stand_in_order_with_their_distance_from_the_best(
    arguments, tmp_path: Path, capsys
) -> None:
    run_here("sweep", *arguments, "grid.axes.guidance_scale=[12,1,3]", "grid.axes.scheduler=[euler,ddim]")
    capsys.readouterr()
    evaluate = ["evaluate", f"run={tmp_path / 'run'}", "engine=local", f"extractors=[{SHARPNESS},pixels]"]
    assert run_here(*evaluate, "metrics=[sharpness.score,vendi]") == 0
    lines = capsys.readouterr().out.splitlines()
    labels = [label for line in lines if (label := line.split("  ")[0]).endswith(("· ddim", "· euler"))]
    assert labels == [f"{scale} · {name}" for name in ("ddim", "euler") for scale in ("1", "3", "12")]
    stored = read_evaluations(store_at(tmp_path))[-1]
    assert set(stored.metrics) == {"sharpness.score", "pixels.vendi"}
    for name in stored.metrics:
        best = max(stored.cells, key=lambda cell_id: stored.cells[cell_id][name].value)
        gaps = {cell_id: found[name] for cell_id, found in stored.gaps.items() if name in found}
        assert gaps.keys() == stored.cells.keys() - {best}
        assert {gap.base for gap in gaps.values()} == {best}
    assert list(stored.cells) == list(read_cells(store_at(tmp_path)))


@pytest.mark.slow
def test_cells_that_lack_an_image_are_compared_over_the_others(arguments, tmp_path: Path) -> None:
    run_here("sweep", *arguments, "grid.axes.guidance_scale=[1,3]")
    path = sorted((tmp_path / "run").glob("metadata/*/*.parquet"))[0]
    failed = pd.read_parquet(path)
    failed.loc[:4, "status"], failed.loc[:4, "sha256"] = "failed", None
    failed.to_parquet(path)
    run_here("evaluate", f"run={tmp_path / 'run'}", "engine=local", f"extractors=[{SHARPNESS}]")
    ((gap,),) = [found.values() for found in read_evaluations(store_at(tmp_path))[-1].gaps.values() if found]
    assert gap.num_pairs == 59


@pytest.mark.slow
def test_images_that_retry_made_are_scored_too(arguments, tmp_path: Path) -> None:
    run_here("generate", *arguments)
    run_here("evaluate", f"run={tmp_path / 'run'}", "engine=local", "extractors=[pixels]", "metrics=[vendi]")
    path = sorted((tmp_path / "run").glob("metadata/*/*.parquet"))[0]
    failed = pd.read_parquet(path)
    failed.loc[0, "status"], failed.loc[0, "sha256"] = "failed", None
    failed.to_parquet(path)
    scored = sorted((tmp_path / "run" / "features").rglob("*.parquet"))[0]
    scored.write_bytes(to_bytes(from_bytes(scored.read_bytes()).taken(range(1, 16))))
    assert run_here("retry", f"run={tmp_path / 'run'}", "engine=local") == 0
    run_here("evaluate", f"run={tmp_path / 'run'}", "engine=local", "extractors=[pixels]", "metrics=[vendi]")
    (figures,) = read_evaluations(store_at(tmp_path))[-1].cells.values()
    assert figures["pixels.vendi"].num_images == 64


@pytest.mark.slow
def test_a_figure_outside_of_what_is_expected_fails_the_job(arguments, tmp_path: Path, capsys) -> None:
    run_here("generate", *arguments)
    evaluate = ["evaluate", f"run={tmp_path / 'run'}", "engine=local", "extractors=[pixels]", "metrics=[vendi]"]
    assert run_here(*evaluate, "expect=[{figure: pixels.vendi, highest: 1000}]") == 0
    assert "pass: pixels.vendi" in capsys.readouterr().out
    assert run_here(*evaluate, "expect=[{figure: pixels.vendi, highest: 1}]") == 1
    assert "FAIL: pixels.vendi" in capsys.readouterr().out
    with pytest.raises(DarkroomError, match="no figure 'clip_score'"):
        run_here(*evaluate, "expect=[{figure: clip_score}]")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["extractors=[inception]"], "inception is not known"),
        (["extractors=[{name: pixels, size: 3}]"], "extractors: no key 'size'; "),
        (["extractors=[{name: inception_v3, source: /nowhere.pth}]"], "/nowhere.pth"),
        (["reference=/nowhere"], "/nowhere"),
        (["clip_convention=mine"], "mine"),
        (["metrics=[beauty]"], "no 'beauty' of these extractors; there are demo_clip.frechet, "),
        (["metrics=[demo_clip.fid]"], "no 'demo_clip.fid'"),
        (["metrics=[kid]"], "demo_clip.kid needs a reference"),
        (["extractors=[pixels,pixels]"], "pixels is there twice"),
        (["extractors=['nowhere:make']"], "nowhere:make: cannot be imported"),
    ],
)
def test_an_evaluation_that_cannot_be_is_refused(arguments, tmp_path: Path, keys, words) -> None:
    run_here("generate", *arguments)
    with pytest.raises(DarkroomError, match=words):
        run_here("evaluate", f"run={tmp_path / 'run'}", "engine=local", *keys)


@pytest.mark.slow
def test_figures_are_stored_as_json_that_says_what_they_are(arguments, tmp_path: Path) -> None:
    run_here("generate", *arguments, "evaluate=inline", "evaluation.extractors=[pixels]")
    (path,) = (tmp_path / "run" / "evaluations").glob("*.json")
    stored = json.loads(path.read_text())
    assert set(stored["metrics"]) == {"pixels.vendi"}
    assert stored["metrics"]["pixels.vendi"]["convention"]


HALVING = [
    "model=demo",
    "engine.shard_size=8",
    "engine.batch_size=8",
    "grid.axes.num_inference_steps=[1,2,3,4]",
    "evaluate=inline",
    "halving.figure=demo_clip.clip_score",
    "halving.num_images=8",
]


@pytest.mark.slow
def test_halving_drops_the_worst_cells_and_renders_only_the_last_to_its_end(arguments, tmp_path: Path, capsys) -> None:
    assert run_here("sweep", *arguments, *HALVING) == 0
    said = capsys.readouterr().out
    assert "round 1 of 4: 4 cells, 1 shards of each" in said
    rows = frame(tmp_path)
    counts = rows.groupby("num_inference_steps").size()
    assert sorted(counts) == [8, 8, 16, 64]
    assert counts[1] == 8
    dropped = read_choices(store_at(tmp_path)).dropped
    assert [item.round for item in dropped] == [1, 1, 2]
    assert all(item.figure == "demo_clip.clip_score" and item.num_kept < item.rank for item in dropped)
    run = open_run(tmp_path / "run")
    assert run.figures.keys() == run.cells.keys() - {item.cell_id for item in dropped}
    [stored] = [json.loads(path.read_text()) for path in (tmp_path / "run" / "evaluations").glob("*.json")]
    assert stored["cells"].keys() == run.figures.keys()
    assert run_here("sweep", *arguments, *HALVING) == 0
    assert len(frame(tmp_path)) == len(rows)
    assert read_choices(store_at(tmp_path)).dropped == dropped


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["halving.figure=demo_clip.clip_score"], "set evaluate=inline"),
        (["halving.figure=demo_clip.beauty", "evaluate=inline"], "figures are demo_clip.vendi"),
        (["halving.figure=demo_clip.vendi", "evaluate=inline", "halving.keep=1"], "halving.keep=1.0"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(arguments, tmp_path: Path, keys, words) -> None:
    with pytest.raises(DarkroomError, match="halving") as caught:
        run_here("sweep", *arguments, "grid.axes.guidance_scale=[1,3]", *keys)
    assert words in str(caught.value)
    assert not (tmp_path / "run").exists()
