"""A local model is its folder's name and its digest: where it lies, and whether its code may run, each command says."""

import io
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from darkroom.api.models import find_model, located
from darkroom.domain.errors import DarkroomError, WrongModel
from darkroom.domain.settings import ModelRef
from darkroom.jobs.cli import composed
from darkroom.runs.images import image_bytes
from darkroom.runs.reading import records
from darkroom.storage.store import Store, open_store, parse_spec
from tests.jobs.helpers import run_here
from tests.rendering.tiny_models import tiny_sd
from tests.rendering.tiny_single_file import single_file

UNET = "unet/diffusion_pytorch_model.safetensors"
CODE = """
from diffusers import StableDiffusionPipeline
from .{other} import TRACE
TRACE.mkdir(exist_ok=True)
class Mine(StableDiffusionPipeline):
    pass
"""


@pytest.fixture
def model(models: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(models["sd"], tmp_path / "here" / "tiny"))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"sd": tiny_sd(tmp_path_factory.mktemp("models") / "sd")}


def generate(model: Path, run: Path, *more: str, job: str = "generate", prompts: int = 2) -> int:
    file = run.parent / "prompts.txt"
    file.write_text("".join(f"a cat {number}\n" for number in range(prompts)))
    given = (f"model.repo_id={model}", f"output.uri={run}", "engine=local", "engine.device=cpu", "engine.shard_size=1")
    given = (*given, "prompts=file", f"prompts.uri={file}", "sampling.num_inference_steps=1", "sampling.height=16")
    given = (*given, "sampling.guidance_scale=5")  # which a class of its own says nothing of
    return run_here(job, "model=diffusers", *given, "sampling.width=16", *more)


def stored(run: Path) -> dict[str, bytes]:
    store = open_store(parse_spec(str(run)))
    return {record.image_id: image_bytes(store, record) for record in records(store)}


def everything_in(store: Store) -> bytes:
    return b"".join(store.get(info.key) for info in store.list() if info.key.startswith(("images/", "metadata/")))


def moved(model: Path, to: str) -> Path:
    target = model.parents[1] / to
    target.parent.mkdir(parents=True, exist_ok=True)
    return model.rename(target)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["files", "webdataset", "parquet"])
def test_no_path_goes_into_an_image_or_a_record(model: Path, tmp_path: Path, layout: str) -> None:
    assert generate(model, tmp_path / "run", f"output.layout={layout}") == 0
    assert str(tmp_path).encode() not in everything_in(open_store(parse_spec(str(tmp_path / "run"))))
    [data, _] = stored(tmp_path / "run").values()
    assert "Model: tiny, " in Image.open(io.BytesIO(data)).info["parameters"]
    assert set(pd.read_parquet(tmp_path / "run" / "metadata").model) == {"tiny"}


@pytest.mark.slow
def test_two_places_give_equal_files(model: Path, tmp_path: Path) -> None:
    generate(model, tmp_path / "one")
    generate(moved(model, "there/tiny"), tmp_path / "two")
    assert stored(tmp_path / "one") == stored(tmp_path / "two")


@pytest.mark.slow
@pytest.mark.parametrize("place", ["there/tiny", "there/renamed"])
def test_a_run_goes_on_and_is_verified_where_its_model_lies_now(
    model: Path, tmp_path: Path, place: str, capsys
) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    generate(model, whole)
    generate(model, run)
    now = moved(model, place)
    manifest, other = sorted((run / "metadata").rglob("*.parquet"))
    (run / pd.read_parquet(manifest).key[0]).unlink()
    manifest.unlink()
    capsys.readouterr()
    assert generate(now, run) == 0
    assert f"darkroom verify run={run} model.repo_id={now}" in capsys.readouterr().out
    (run / pd.read_parquet(other).key[0]).write_bytes(b"")
    with pytest.raises(DarkroomError, match=r"no such folder.*give the model's place, .*as model\.repo_id=") as caught:
        run_here("verify", f"run={run}")
    assert "\n" not in str(caught.value)
    assert run_here("repair", f"run={run}", f"model.repo_id={now}") == 0
    assert run_here("verify", f"run={run}", f"model.repo_id={now.parent}") == 0
    assert stored(run) == stored(whole)


@pytest.mark.slow
def test_of_several_models_each_is_found_by_its_digest(model: Path, tmp_path: Path) -> None:
    other = scaled(Path(shutil.copytree(model, tmp_path / "there" / "tiny")))
    run = tmp_path / "run"
    assert generate(model, run, f"grid.axes.repo_id=[{model},{other}]", job="sweep") == 0
    first, second = moved(model, "new/first"), moved(other, "new/second")
    for wrong in (first, second):
        with pytest.raises(DarkroomError, match="give the model's place"):
            run_here("verify", f"run={run}", f"model.repo_id={wrong}")
    assert run_here("verify", f"run={run}", f"model.repo_id={tmp_path / 'new'}") == 0
    first.rename(model)  # the other one alone has moved
    assert run_here("verify", f"run={run}", f"model.repo_id={second}") == 0


@pytest.mark.slow
def test_a_cell_that_calls_its_model_otherwise_is_rendered_with_that_model(model: Path, tmp_path: Path) -> None:
    """Its name is no part of the digest that a cell's file is checked by."""
    run = tmp_path / "run"
    generate(model, run)
    [cell] = (run / "cells").iterdir()
    told = json.loads(cell.read_text())
    told["identity"]["repo_id"] = "darkroom/paint"
    cell.write_text(json.dumps(told))
    assert run_here("verify", f"run={run}") == 0


@pytest.mark.parametrize("name", ["demo", "paint"])
def test_a_folder_of_its_name_is_not_taken_for_an_embedded_model(name: str, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "darkroom" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    config = composed("plan", [f"model={name}"])
    ref = located(ModelRef(config.model.repo_id, dtype=config.model.dtype.value))
    assert find_model(ref, "cpu").identity.repo_id == f"darkroom/{name}"


@pytest.mark.slow
def test_another_model_in_its_place_is_named(model: Path, tmp_path: Path) -> None:
    generate(model, tmp_path / "run")
    scaled(model)
    with pytest.raises(DarkroomError, match=r"is sha256:\w+, and the run was made with sha256:\w+; restore"):
        run_here("verify", f"run={tmp_path / 'run'}")


def scaled(model: Path) -> Path:
    from safetensors.torch import load_file, save_file

    tensors = {name: tensor * 1.5 for name, tensor in load_file(model / UNET).items()}
    (model / UNET).unlink()
    save_file(tensors, model / UNET, {"format": "pt"})
    return model


def with_code(model: Path, trace: Path, other: str = "other") -> Path:
    index = json.loads((model / "model_index.json").read_text())
    (model / "model_index.json").write_text(json.dumps({**index, "_class_name": ["mine", "Mine"]}))
    (model / "mine.py").write_text(CODE.format(other=other))
    (model / f"{other}.py").write_text(f"from pathlib import Path\nTRACE = Path({str(trace)!r})\n")
    return model


@pytest.mark.slow
@pytest.mark.parametrize("job", ["verify", "repair", "retry"])
def test_a_stored_run_does_not_make_its_code_trusted(model: Path, tmp_path: Path, job: str) -> None:
    trace, run = tmp_path / "trace", tmp_path / "run"
    assert generate(with_code(model, trace), run, "model.trust_remote_code=true") == 0
    trace.rmdir()
    if job == "repair":
        next(iter((run / "images").rglob("*.png"))).write_bytes(b"")
    if job == "retry":
        fail_one(run)
    engine = ["engine=local"] if job == "retry" else []
    with pytest.raises(DarkroomError, match=r"^cell \w{16}: .*give model\.trust_remote_code=true") as caught:
        run_here(job, f"run={run}", *engine)
    assert "\n" not in str(caught.value)
    assert not trace.exists()
    assert run_here(job, f"run={run}", "model.trust_remote_code=true", *engine) == 0
    assert trace.exists()


def fail_one(run: Path) -> None:
    import pyarrow.parquet as pq

    path = next(iter((run / "metadata").rglob("*.parquet")))
    table = pq.read_table(path)
    at = table.schema.get_field_index("status")
    pq.write_table(table.set_column(at, table.schema.field(at), [["failed"] * len(table)]), path)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["mine.py", "other.py", "unet/more.py", "data.yaml"])
def test_what_a_trusted_models_code_is_or_reads_belongs_to_its_digest(model: Path, tmp_path: Path, file: str) -> None:
    run, trusted = tmp_path / "run", "model.trust_remote_code=true"
    generate(with_code(model, tmp_path / "trace"), run, trusted)
    with (model / file).open("a") as text:
        text.write("\n")
    with pytest.raises(DarkroomError, match=r"model\.revision is 'sha256:"):
        generate(model, run, trusted)
    with pytest.raises(DarkroomError, match="restore that model"):
        run_here("verify", f"run={run}", trusted)


@pytest.mark.slow
def test_models_with_code_of_one_name_run_their_own(model: Path, tmp_path: Path) -> None:
    traces = [tmp_path / "a", tmp_path / "b"]
    other = scaled(Path(shutil.copytree(model, tmp_path / "there" / "tiny")))
    for folder, trace in zip((model, other), traces, strict=True):
        with_code(folder, trace)
    grid = f"grid.axes.repo_id=[{model},{other}]"
    assert generate(model, tmp_path / "run", grid, "model.trust_remote_code=true", job="sweep") == 0
    assert [trace.exists() for trace in traces] == [True, True]


@pytest.mark.slow
def test_a_model_that_changes_under_a_job_ends_it(model: Path, tmp_path: Path, monkeypatch) -> None:
    """Its weights are replaced after the job looked at it, and before it is loaded."""
    from darkroom.engine import spec

    load = spec.load_renderer
    monkeypatch.setattr(spec, "load_renderer", lambda *given: load(*given) if scaled(model) else None)
    with pytest.raises(WrongModel, match=f"{UNET} in {model} is sha256"):
        generate(model, tmp_path / "run")
    assert not stored(tmp_path / "run")


@pytest.mark.slow
def test_checkpoints_of_one_file_are_an_axis_and_may_move(tmp_path: Path, own_cache: Path) -> None:
    model = tiny_sd(tmp_path / "model")
    files = [single_file(model, tmp_path / "a.safetensors"), tmp_path / "b.safetensors"]
    save_file({name: value * 0.9 for name, value in load_file(files[0]).items()}, files[1])
    run = tmp_path / "run"
    given = ("model=diffusers", f"model.repo_id={model}", f"grid.axes.single_file=[null,{files[0]},{files[1]}]")
    given = (*given, "sampling.num_inference_steps=1", "sampling.height=16", "sampling.width=16")
    prompts = ("prompts=template", "prompts.pattern=a {x}", "prompts.slots={x: [dot]}")
    assert run_here("sweep", *given, *prompts, "engine=local", f"output.uri={run}") == 0
    frame = pd.read_parquet(run / "metadata")
    assert (len(frame), frame["pixels_sha256"].nunique()) == (3, 2)
    (tmp_path / "moved").mkdir()
    for file in files:
        file.rename(tmp_path / "moved" / file.name)
    shutil.rmtree(own_cache)
    with pytest.raises(DarkroomError, match="no such file"):
        run_here("verify", f"run={run}")
    assert run_here("verify", f"run={run}", f"model.single_file={tmp_path / 'moved'}") == 0
