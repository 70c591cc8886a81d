"""Runs with LoRAs: chosen by settings, by axes and by columns, with the same promises as any other run."""

import json
import shlex
import shutil
from pathlib import Path

import boto3
import pandas as pd
import pytest

import darkroom
from darkroom.domain.errors import DarkroomError
from darkroom.reporting.commands import run_command
from tests.jobs.helpers import run_here
from tests.rendering.tiny_loras import tiny_lora
from tests.rendering.tiny_models import tiny_sd

ROWS = "prompt,lora,lora_weight\na cat,ink,0.5\na dog,oil,\na cow,none,\na pig,,\na hen,ink+oil,2\na cat,ink,1\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and two LoRAs."""
    folder = tmp_path_factory.mktemp("made")
    model = tiny_sd(folder / "model")
    tiny_lora(model, folder / "ink")
    tiny_lora(model, folder / "oil", 2, with_text=True)
    return folder


def job(name: str, made: Path, run: Path, *more: str, prompts: str = "a cat\na dog\n") -> int:
    file = run.parent / f"prompts.{'csv' if ',' in prompts else 'txt'}"
    file.write_text(prompts)
    given = (f"model.repo_id={made / 'model'}", f"output.uri={run}", "engine=local", "engine.device=cpu")
    given = (*given, "prompts=file", f"prompts.uri={file}", "sampling.num_inference_steps=1", "sampling.height=16")
    return run_here(name, "model=diffusers", *given, "sampling.width=16", "engine.batch_size=2", *more)


def both(made: Path) -> str:
    return f"model.loras=[{{path:{made / 'ink'},weight:0.8}},{made / 'oil'}]"


def records(run: Path) -> pd.DataFrame:
    found = pd.read_parquet(run / "metadata").sort_values(["prompt", "lora_weight"])
    return found.assign(model_parts=found.model_parts.fillna("[]"))


@pytest.mark.slow
def test_rows_choose_loras_and_neither_shards_nor_order_change_an_image(made: Path, tmp_path: Path) -> None:
    assert job("generate", made, tmp_path / "one", both(made), prompts=ROWS) == 0
    head, *rows = ROWS.splitlines()
    other = "\n".join([head, *reversed(rows), ""])
    assert job("generate", made, tmp_path / "two", both(made), "engine.shard_size=2", prompts=other) == 0
    one, two = records(tmp_path / "one"), records(tmp_path / "two")
    assert list(one.sha256) == list(two.sha256)
    assert len(set(one.pixels_sha256)) == len(one) == 6
    assert run_here("verify", f"run={tmp_path / 'two'}") == 0
    used = {row.prompt: json.loads(row.model_parts) for row in one.itertuples() if row.lora_weight != 0.5}
    assert {prompt: [(each["name"], each["weight"]) for each in parts] for prompt, parts in used.items()} == {
        "a cat": [("ink", 0.8)],
        "a cow": [],
        "a dog": [("oil", 1.0)],
        "a hen": [("ink", 1.6), ("oil", 2.0)],
        "a pig": [("ink", 0.8), ("oil", 1.0)],
    }


@pytest.mark.slow
def test_a_sweep_over_loras_loads_its_model_once_and_grows(made: Path, tmp_path: Path, capsys) -> None:
    run, axis = tmp_path / "run", f"grid.axes.loras=[[],[{made / 'ink'}]"
    assert job("sweep", made, run, f"{axis}]") == 0
    assert "1 model load(s), for 1 model(s) and 2 cell(s)" in capsys.readouterr().out
    assert job("sweep", made, run, f"{axis},[{{path:{made / 'oil'},weight:0.5}}]]") == 0
    assert "2 of 3 shards are committed already" in capsys.readouterr().out
    found = records(run)
    assert found.groupby("prompt").pixels_sha256.nunique().tolist() == [3, 3]
    opened = darkroom.open_run(run)
    line = run_command(opened.info, list(opened.cells.values()), opened.store.spec, 2)
    _, name, *words = shlex.split(line)
    assert run_here(name, *words, "engine=local", "engine.device=cpu") == 0
    assert "3 of 3 shards are committed already" in capsys.readouterr().out
    assert run_here("verify", f"run={run}") == 0
    assert run_here("status", f"run={run}") == 0
    assert "float32 with loras oil:0.5 (" in capsys.readouterr().out


@pytest.mark.slow
def test_a_lora_that_has_moved_is_found_by_its_digest_and_named_where_it_is_not(made: Path, tmp_path: Path) -> None:
    here = Path(shutil.copytree(made / "ink", tmp_path / "here" / "ink"))
    run = tmp_path / "run"
    assert job("generate", made, run, f"model.loras=[{here}]") == 0
    there = here.rename(tmp_path / "called otherwise")
    with pytest.raises(DarkroomError, match=r"model\.loras ink \(.*here/ink\): no such file.*as model\.adapters="):
        run_here("verify", f"run={run}")
    with pytest.raises(DarkroomError, match=r"no such file"):
        run_here("verify", f"run={run}", f"model.adapters=[{made / 'oil'}]")
    (run / records(run).key.iloc[0]).write_bytes(b"")
    place = f'model.adapters=["{there.parent}"]'
    assert run_here("repair", f"run={run}", place) == 0
    assert run_here("verify", f"run={run}", place) == 0
    shutil.copytree(made / "oil", here)
    with pytest.raises(DarkroomError, match=r"model\.loras ink .* is sha256:.*, and the run was made with sha256:"):
        run_here("verify", f"run={run}")


@pytest.mark.slow
def test_a_lora_in_a_bucket_is_what_it_was_or_is_named(
    made: Path, tmp_path: Path, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    client, key = boto3.client("s3", endpoint_url=s3_endpoint), f"{tmp_path.name}/ink.safetensors"
    weights = made / "ink" / "pytorch_lora_weights.safetensors"
    client.upload_file(str(weights), "bucket", key)
    run, there = tmp_path / "run", f"s3://bucket/{key}"
    assert job("generate", made, run, f"model.loras=[{{path:{there},weight:0.8}}]") == 0
    assert job("generate", made, tmp_path / "here", f"model.loras=[{{path:{made / 'ink'},weight:0.8}}]") == 0
    assert list(records(run).pixels_sha256) == list(records(tmp_path / "here").pixels_sha256)
    opened = darkroom.open_run(run)
    assert there in run_command(opened.info, list(opened.cells.values()), opened.store.spec, 2)
    assert run_here("verify", f"run={run}") == 0
    client.upload_file(str(made / "oil" / weights.name), "bucket", key)
    with pytest.raises(
        DarkroomError, match=r"model\.loras ink \(s3:.* is sha256:.*, and the run was made with sha256:"
    ):
        run_here("verify", f"run={run}")
    assert run_here("verify", f"run={run}", f"model.adapters=[{weights}]") == 0
    client.delete_object(Bucket="bucket", Key=key)
    with pytest.raises(DarkroomError, match=r"model\.loras=s3:.*: nothing lies there") as caught:
        job("generate", made, tmp_path / "other", f"model.loras=[{there}]")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_vae_that_has_moved_is_found_by_its_digest_too(made: Path, tmp_path: Path) -> None:
    here = Path(shutil.copytree(made / "model" / "vae", tmp_path / "here" / "other"))
    config = json.loads((here / "config.json").read_text())
    (here / "config.json").write_text(json.dumps(config | {"scaling_factor": 0.3}))
    run = tmp_path / "run"
    assert job("generate", made, run, f"model.vae={here}") == 0
    assert job("generate", made, tmp_path / "own") == 0
    assert not set(records(run).pixels_sha256) & set(records(tmp_path / "own").pixels_sha256)
    opened = darkroom.open_run(run)
    line = run_command(opened.info, list(opened.cells.values()), opened.store.spec, 2)
    assert f"model.vae={here}" in shlex.split(line)
    there = here.rename(tmp_path / "there")
    with pytest.raises(DarkroomError, match=r"model\.vae other \(.*\): no config\.json.*as model\.adapters="):
        run_here("verify", f"run={run}")
    assert run_here("verify", f"run={run}", f"model.adapters=[{there}]") == 0


@pytest.mark.slow
def test_from_python_as_from_the_command_line(made: Path, tmp_path: Path) -> None:
    settings = {"num_inference_steps": 1, "height": 16, "width": 16, "loras": [{"path": made / "ink", "weight": 0.8}]}
    run = darkroom.sweep(
        ["a cat"], axes={"lora_weight": [0, 1]}, model=made / "model", out=tmp_path / "run", **settings
    )
    assert run.records.pixels_sha256.nunique() == 2
    assert list(records(tmp_path / "run").model_parts.str.len() > 2) == [False, True]
    with pytest.raises(DarkroomError, match=r"^loras\[0\]\.weight='much': give a number"):
        darkroom.generate(["a cat"], model=made / "model", loras=[{"path": made / "ink", "weight": "much"}])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "error"),
    [
        ("model.loras=[{path:ink,weight:much}]", r"model\.loras\[0\]\.weight='much': give a number"),
        ("model.loras=[{path:ink,weight:11}]", r"model\.loras\[0\]\.weight=11\.0 is out of range"),
        ("model.loras=[{path:ink,scale:1}]", r"model\.loras\[0\]: no key 'scale'; there are path, weight, name"),
        ("model.loras=[{weight:1}]", r"model\.loras\[0\] has no path"),
        ("model.loras=[nowhere.safetensors]", r"model\.loras nowhere\.safetensors: no such file"),
        ("sampling.lora=ink", r"sampling\.lora=ink: model has no LoRA 'ink'; give one of none"),
        ("sampling.lora_weight=0.5", r"sampling\.lora_weight=0\.5: model has no LoRA"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(made: Path, tmp_path: Path, given: str, error: str) -> None:
    with pytest.raises(DarkroomError, match=error) as caught:
        job("generate", made, tmp_path / "run", given)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_row_that_names_no_lora_of_the_model_is_refused(made: Path, tmp_path: Path) -> None:
    rows = "prompt,lora\na cat,inc\n"
    with pytest.raises(DarkroomError, match=r"column lora=inc: model has no LoRA 'inc'; give one of none, ink, oil"):
        job("generate", made, tmp_path / "run", both(made), prompts=rows)
    with pytest.raises(DarkroomError, match=r"column lora=inc: .*; or prompts\.columns\.lora=null leaves"):
        job("generate", made, tmp_path / "run", prompts=rows)
