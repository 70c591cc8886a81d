"""Models of several families through the command: mixed rows, two shard sizes, two orders, and verify."""

from pathlib import Path

import pandas as pd
import pytest

from darkroom.domain.errors import DarkroomError
from tests.jobs.helpers import run_here
from tests.rendering.tiny_families import tiny
from tests.rendering.tiny_models import tiny_flux

ROWS = [
    "a,a red circle,3,",
    "b,a large blue square beside a small green triangle,3,",
    "c,a red square,5,a blue square",
    "d,two circles,2,a blue square",
]


def rendered(folder: Path, model: Path, name: str, rows: list[str], shard_size: int) -> dict[str, str]:
    """prompt_id -> SHA-256 of the image."""
    prompts = folder / f"{name}.csv"
    prompts.write_text("\n".join(["prompt_id,prompt,guidance_scale,negative_prompt", *rows, ""]))
    given = ("model=diffusers", f"model.repo_id={model}", "prompts=file", f"prompts.uri={prompts}", "engine=local")
    size = ("sampling.height=32", "sampling.width=32", "sampling.num_inference_steps=2")
    engine = ("engine.device=cpu", "engine.batch_size=2", f"engine.shard_size={shard_size}")
    run = (*given, *size, *engine, f"output.uri={folder / name}")
    assert run_here("plan", *run) == 0
    assert run_here("generate", *run) == 0
    assert run_here("verify", f"run={folder / name}") == 0
    found = pd.read_parquet(folder / name / "metadata")
    assert set(found.proved) == {True}
    return dict(zip(found.prompt_id, found.sha256, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cogview4", "sana", "qwen"])
def test_bytes_depend_on_neither_shards_nor_order(tmp_path: Path, name: str) -> None:
    model = tiny(name, tmp_path / "model")
    first = rendered(tmp_path, model, "first", ROWS, 4)
    assert len(set(first.values())) == 4
    assert rendered(tmp_path, model, "second", ROWS[::-1], 1) == first


@pytest.mark.slow
def test_a_column_that_a_model_ignores_is_refused(tmp_path: Path) -> None:
    model = tiny_flux(tmp_path / "model")
    (tmp_path / "prompts.csv").write_text("prompt,negative_prompt\na,b\n")
    given = ("model=diffusers", f"model.repo_id={model}", "prompts=file", f"prompts.uri={tmp_path / 'prompts.csv'}")
    given = (*given, "engine=local", "sampling.num_inference_steps=1")
    with pytest.raises(DarkroomError, match=r"takes no negative_prompt; prompts\.columns\.negative_prompt=null"):
        run_here("generate", *given, f"output.uri={tmp_path / 'run'}")
    with pytest.raises(DarkroomError, match=r"takes no guidance_scale; leave it out"):
        run_here("plan", *given, "prompts.columns.negative_prompt=null", "sampling.guidance_scale=4")
