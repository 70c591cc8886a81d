"""Every job on a run of the paint renderer, in this process."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from darkroom.domain.errors import DarkroomError
from darkroom.jobs.cli import JOBS
from darkroom.jobs.console import ExitCode
from darkroom.runs.reading import records
from darkroom.storage.store import open_store, parse_spec
from tests.jobs.helpers import PAINT, run_here


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.csv"
    rows = [f'"prompt {number}, with a comma",c{number % 3}' for number in range(20)]
    path.write_text("\n".join(["prompt,category", *rows]) + "\n")
    return path


@pytest.fixture
def arguments(prompts: Path, tmp_path: Path) -> tuple[str, ...]:
    return (*PAINT, "prompts=file", f"prompts.uri={prompts}", f"output.uri={tmp_path / 'run'}", "engine.shard_size=6")


def stored(folder: Path) -> list:
    return list(records(open_store(parse_spec(str(folder)))))


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_every_job_has_help_that_names_its_keys(job: str, capsys: pytest.CaptureFixture) -> None:
    from darkroom.jobs.cli import run_job

    run_job(job, ["--help"])
    assert f"darkroom {job}" in capsys.readouterr().out


@pytest.mark.slow
def test_generate_makes_a_dataset_and_says_where(arguments, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run_here("generate", *arguments) == 0
    said = capsys.readouterr().out
    assert "20 images rendered" in said
    assert f"verify run={tmp_path / 'run'}" in said
    frame = pd.read_parquet(tmp_path / "run" / "metadata")
    assert len(frame) == 20
    assert set(frame["category"]) == {"c0", "c1", "c2"}
    assert Image.open(tmp_path / "run" / "contact_sheet.png").width > 1000
    png = Image.open(tmp_path / "run" / frame["key"][0])
    assert json.loads(png.text["darkroom"])["prompt"] == frame["prompt"][0]
    assert "Steps: 20" in png.text["parameters"]


@pytest.mark.slow
def test_the_same_command_again_renders_nothing(arguments, capsys: pytest.CaptureFixture) -> None:
    run_here("generate", *arguments)
    capsys.readouterr()
    assert run_here("generate", *arguments) == 0
    said = capsys.readouterr().out
    assert "4 of 4 shards are committed already; 0 are left" in said
    assert "0 images rendered" in said


@pytest.mark.slow
def test_images_do_not_depend_on_shards_batches_or_row_order(arguments, prompts: Path, tmp_path: Path) -> None:
    run_here("generate", *arguments)
    header, *rows = prompts.read_text().splitlines()
    prompts.write_text("\n".join([header, *rows[::-1]]) + "\n")
    run_here("generate", *arguments, f"output.uri={tmp_path / 'other'}", "engine.shard_size=7", "engine.batch_size=3")
    first, other = ({record.prompt: record.sha256 for record in stored(tmp_path / name)} for name in ("run", "other"))
    assert first == other


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("sampling.guidance_scale=6", "sampling.guidance_scale is 5.0 in this run and 6.0"),
        ("sampling.seed=1", "sampling.seed is 0"),
        ("output.image_format=webp", "output.image_format"),
        ("prompts.uri=OTHER", "the prompt dataset's fingerprint"),
    ],
)
def test_a_run_refuses_to_become_another_one(arguments, override: str, words: str, tmp_path: Path) -> None:
    run_here("generate", *arguments)
    (tmp_path / "other.txt").write_text("something else\n")
    with pytest.raises(DarkroomError, match=words):
        run_here("generate", *arguments, override.replace("OTHER", str(tmp_path / "other.txt")))


@pytest.mark.slow
def test_another_shard_size_is_ignored_aloud_in_a_run_that_has_one(arguments, capsys: pytest.CaptureFixture) -> None:
    run_here("generate", *arguments)
    assert run_here("generate", *arguments, "engine.shard_size=5") == 0
    assert "engine.shard_size=5 is ignored: this run has 6" in capsys.readouterr().out


@pytest.mark.slow
def test_plan_says_what_would_be_done_and_writes_nothing(arguments, tmp_path: Path, capsys) -> None:
    assert run_here("plan", *arguments, "sampling.num_images_per_prompt=3") == 0
    said = capsys.readouterr().out
    assert "images:  60, in 4 shards of 6 prompts" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_plan_writes_a_templates_prompts_as_parquet(tmp_path: Path, capsys) -> None:
    path = tmp_path / "made.parquet"
    template = ["prompts=template", "prompts.pattern='a {colour} {animal}'", f"prompts.write_to={path}"]
    slots = ["prompts.slots={colour: [red, blue], animal: [cat, dog, owl]}"]
    assert run_here("plan", *PAINT, *template, *slots, f"output.uri={tmp_path / 'run'}") == 0
    frame = pd.read_parquet(path)
    assert len(frame) == 6
    assert set(frame["prompt"]) >= {"a red cat", "a blue owl"}
    assert run_here("plan", *PAINT, "prompts=file", f"prompts.uri={path}") == 0


@pytest.mark.slow
def test_status_counts_what_is_there_and_what_is_left(arguments, tmp_path: Path, capsys) -> None:
    run_here("generate", *arguments)
    first = sorted((tmp_path / "run" / "metadata").rglob("*.parquet"))[0]
    first.unlink()
    capsys.readouterr()
    assert run_here("status", f"run={tmp_path / 'run'}") == ExitCode.UNFINISHED
    said = capsys.readouterr().out
    assert "3 of 4 shards" in said
    assert "14 ok" in said
    assert "6 prompt rows" in said
    assert re.search(r"a shard was committed \d+ s ago, at .* UTC", said)
    assert run_here("status", f"run={tmp_path / 'run'}", "json=true") == ExitCode.UNFINISHED
    found = json.loads(capsys.readouterr().out)
    assert (found["num_committed_shards"], found["num_shards"], found["num_prompt_rows_left"]) == (3, 4, 6)
    assert found["records"] == {"ok": 14}
    assert not found["is_finished"]


@pytest.mark.slow
def test_verify_names_an_image_that_is_not_what_its_record_says(arguments, tmp_path: Path, capsys) -> None:
    run_here("generate", *arguments)
    assert run_here("verify", f"run={tmp_path / 'run'}", "num_images=20") == 0
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    manifest_path = sorted((tmp_path / "copy" / "metadata").rglob("*.parquet"))[0]
    frame = pd.read_parquet(manifest_path)
    frame.loc[0, "seed"] += 1
    frame.to_parquet(manifest_path)
    capsys.readouterr()
    assert run_here("verify", f"run={tmp_path / 'copy'}", "num_images=20") == 1
    said = capsys.readouterr().out
    assert f"{frame.loc[0, 'image_id']} differs" in said
    assert "19 of 20" in said


@pytest.mark.slow
def test_gc_removes_orphans_and_nothing_else(arguments, tmp_path: Path, capsys) -> None:
    run_here("generate", *arguments)
    before = {record.key for record in stored(tmp_path / "run")}
    orphan = tmp_path / "run" / "images" / "00" / "00ff.png"
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"left by an attempt that died")
    broken = orphan.with_name(".tmp-123")
    broken.write_bytes(b"half")
    assert run_here("gc", f"run={tmp_path / 'run'}") == 0
    assert orphan.exists()
    assert run_here("gc", f"run={tmp_path / 'run'}", "older_than_s=0", "dry_run=true") == 0
    assert orphan.exists()
    assert run_here("gc", f"run={tmp_path / 'run'}", "older_than_s=0") == 0
    assert not orphan.exists()
    assert not broken.exists()
    assert all((tmp_path / "run" / key).exists() for key in before)


@pytest.mark.slow
def test_retry_with_nothing_failed_says_so(arguments, tmp_path: Path, capsys) -> None:
    run_here("generate", *arguments)
    assert run_here("retry", f"run={tmp_path / 'run'}", "engine=local") == 0
    assert "nothing to render again" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["webdataset", "parquet"])
@pytest.mark.parametrize("image_format", ["png", "webp", "jpeg"])
def test_every_layout_and_format_can_be_verified(arguments, layout: str, image_format: str, tmp_path: Path) -> None:
    run_here("generate", *arguments, f"output.layout={layout}", f"output.image_format={image_format}")
    assert run_here("verify", f"run={tmp_path / 'run'}", "num_images=5") == 0


@pytest.mark.slow
def test_a_bad_row_that_is_recorded_is_said_by_the_exit_code_of_every_start(
    arguments, prompts: Path, tmp_path: Path, capsys
) -> None:
    prompts.write_text("prompt,width\nfine,16\n,16\nodd,13\n")
    with pytest.raises(DarkroomError):
        run_here("generate", *arguments)
    assert run_here("generate", *arguments, "prompts.on_invalid=record") is ExitCode.ROWS_FAILED
    said = capsys.readouterr().out
    assert "2 images failed" in said
    assert "1 of 1 images" in said
    assert run_here("generate", *arguments, "prompts.on_invalid=record") is ExitCode.ROWS_FAILED
    assert "2 images are of invalid prompt rows, as before" in capsys.readouterr().out
    assert run_here("retry", f"run={tmp_path / 'run'}", "engine=local") is ExitCode.ROWS_FAILED
    assert [record.status for record in stored(tmp_path / "run")] == ["ok", "invalid", "invalid"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "override", "words"),
    [
        ("generate", "sampling.guidance=3", "guidance"),
        ("generate", "sampling.num_inference_steps=many", "many"),
        ("generate", "sampling.num_inference_steps=0", "from 1 to 10000"),
        ("generate", "sampling.guidance_scale=nan", "out of range"),
        ("generate", "sampling.height=63", "multiple of 8"),
        ("generate", "sampling.scheduler=quick", "those that fit are default, ddim"),
        ("generate", "engine=cloud", "cloud"),
        ("generate", "model=diffusers", "model.repo_id has no value"),
        ("generate", "output.layout=zip", "zip"),
        ("status", "run=/nowhere/at/all", "does not exist"),
        ("status", "", "run has no value"),
    ],
)
def test_bad_input_is_one_line_that_names_it(job: str, override: str, words: str) -> None:
    base = ["engine=local"] if job == "generate" and not override.startswith("engine") else []
    with pytest.raises(DarkroomError, match=words) as caught:
        run_here(job, *[item for item in (*base, override) if item])
    assert "\n" not in str(caught.value)
