"""What one run compiled serves the next one, also on a machine that has never compiled anything."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.jobs.helpers import ROOT, run_here
from tests.rendering.tiny_models import tiny_sd, tiny_vae

# A node of its own: torch's caches are in a folder that nobody else has.
_NODE = """
import json, sys
from darkroom.jobs.cli import composed
from darkroom.jobs.runs import generate
code = generate(composed("generate", sys.argv[1:]))
from torch._dynamo.utils import counters
print(json.dumps([code, counters["inductor"]["fxgraph_cache_hit"], counters["inductor"]["fxgraph_cache_miss"]]))
"""


def overrides(folder: Path, name: str, model: Path) -> tuple[str, ...]:
    return (
        "prompts=template", "prompts.pattern='a {colour} circle'", "prompts.slots={colour: [red, blue]}",
        "model=diffusers", f"model.repo_id={model}", "engine=local", "engine.batch_size=2",
        "sampling.num_inference_steps=2", "sampling.height=16", "sampling.width=16", f"output.uri={folder / name}",
    )  # fmt: skip


def generated(folder: Path, node: str, model: Path) -> tuple[int, int, int]:
    """(exit code, graphs taken from a cache, graphs compiled) of a run by this node."""
    caches = {"XDG_CACHE_HOME": str(folder / "cache"), "TORCHINDUCTOR_CACHE_DIR": str(folder / f"inductor-{node}")}
    caches["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # no pool of processes, each of which imports torch
    ended = subprocess.run(
        [sys.executable, "-c", _NODE, *overrides(folder, node, model), "engine.compile=true"],
        cwd=ROOT, env=os.environ | caches, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return tuple(json.loads(ended.stdout.splitlines()[-1]))


def images(run: Path) -> dict[str, np.ndarray]:
    """Prompt -> pixels, 0 to 255; (height, width, 3)."""
    frame = pd.read_parquet(run / "metadata")
    return {row.prompt: np.asarray(Image.open(run / row.key), int) for row in frame.itertuples()}


@pytest.mark.slow
def test_a_later_run_compiles_nothing_again(tmp_path: Path) -> None:
    """And what it compiled makes the same picture. A model of next to no layers: a compiler runs for each kernel."""
    one = {"block_out_channels": (8,), "down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    model = tiny_sd(tmp_path / "model", mid_block_type=None, layers_per_block=0, **one)
    tiny_vae(4, 1, layers_per_block=0, mid_block_add_attention=False).save_pretrained(model / "vae")
    code, hits, misses = generated(tmp_path, "first", model)
    assert (code, hits) == (0, 0)
    assert misses > 0
    (kept,) = (path for path in (tmp_path / "cache" / "darkroom" / "compiled").rglob("*") if path.is_file())
    assert kept.stat().st_size > 1000
    assert generated(tmp_path, "second", model) == (0, misses, 0)
    frames = [pd.read_parquet(tmp_path / node / "metadata") for node in ("first", "second")]
    assert all(frame["compiled"].all() for frame in frames)
    assert sorted(frames[0]["sha256"]) == sorted(frames[1]["sha256"])
    assert run_here("generate", *overrides(tmp_path, "eager", model)) == 0
    compiled, eager = images(tmp_path / "first"), images(tmp_path / "eager")
    assert set(compiled) == set(eager)
    assert max(np.abs(compiled[prompt] - eager[prompt]).max() for prompt in eager) <= 2
