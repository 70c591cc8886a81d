"""A model's files may be anybody's: no pickle is opened, and no code runs that was not trusted, on record."""

import io
import json
import os
import pickle
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.jobs.console import ExitCode
from darkroom.storage.store import open_store, parse_spec
from tests.jobs.helpers import run_here
from tests.rendering.tiny_models import tiny_sd

UNET = "diffusion_pytorch_model.safetensors"


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.trace),)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_sd(tmp_path / "model")


def generate(model: Path, *more: str) -> int:
    given = (f"model.repo_id={model}", f"output.uri={model.parent / 'run'}", "engine=local", "engine.device=cpu")
    (model.parent / "prompts.txt").write_text("a cat\na dog\n")
    prompts = ("prompts=file", f"prompts.uri={model.parent / 'prompts.txt'}", "sampling.num_inference_steps=1")
    return run_here("generate", "model=diffusers", *given, *prompts, *more)


def refused(model: Path) -> str:
    with pytest.raises(DarkroomError) as caught:
        generate(model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "model.ckpt", "model.pt"])
def test_a_pickle_is_refused_unopened_with_the_way_to_convert_it(model: Path, tmp_path: Path, name: str) -> None:
    (model / "unet" / UNET).unlink()
    (model / "unet" / name).write_bytes(pickle.dumps(Payload(tmp_path / "trace")))
    assert "unet has its weights as a pickle, which can run code; convert" in refused(model)
    assert not (tmp_path / "trace").exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "disguise"),
    [(f"unet/{UNET}", "pickle"), (f"unet/{UNET}", "cut"), ("text_encoder/model.safetensors", "cut")],
)
def test_weights_that_are_not_what_their_name_says_are_refused(
    model: Path, tmp_path: Path, weights: str, disguise: str
) -> None:
    file = model / weights
    file.write_bytes(pickle.dumps(Payload(tmp_path / "trace")) if disguise == "pickle" else file.read_bytes()[:-100])
    assert str(model) in refused(model)
    assert not (tmp_path / "trace").exists()


@pytest.mark.slow
def test_code_that_a_model_brings_runs_only_where_it_is_trusted(model: Path, tmp_path: Path) -> None:
    index = json.loads((model / "model_index.json").read_text())
    (model / "unet" / "mine.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'trace')!r})\n")
    (model / "model_index.json").write_text(json.dumps({**index, "unet": ["mine", "Mine"]}))
    assert "unet brings its own code (mine); set model.trust_remote_code=true" in refused(model)
    assert not (tmp_path / "trace").exists()


@pytest.mark.slow
@pytest.mark.parametrize("trusts", [True, False])
def test_trust_is_kept_in_the_cell_and_in_every_manifest(model: Path, trusts: bool) -> None:
    assert generate(model, f"model.trust_remote_code={trusts}") in (
        ExitCode.OK,
        ExitCode.ROWS_FAILED,
    )  # noise may come out black
    store = open_store(parse_spec(str(model.parent / "run")))
    [cell] = [json.loads(store.get(info.key)) for info in store.list("cells/")]
    assert cell["identity"]["trust_remote_code"] is trusts
    [manifest] = [store.get(info.key) for info in store.list("metadata/")]
    about = pq.read_schema(io.BytesIO(manifest)).metadata
    assert about[b"darkroom.trust_remote_code"] == str(trusts).lower().encode()
