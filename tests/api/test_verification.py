"""Committed images rendered again: with one model in memory at a time."""

import gc
import weakref
from pathlib import Path

import pytest

from darkroom.api import verification
from darkroom.rendering.renderer import Renderer
from tests.jobs.helpers import run_here


@pytest.mark.slow
def test_a_runs_models_are_held_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, own = tmp_path / "run", verification.load_renderer
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red circle\na blue square\n")
    settings = ("engine=local", "sampling.num_inference_steps=1", "engine.batch_size=2")
    assert (
        run_here(
            "sweep",
            *settings,
            "prompts=file",
            f"prompts.uri={prompts}",
            "grid.axes.dtype=[float32,bfloat16]",
            f"output.uri={run}",
        )
        == 0
    )
    loaded: list[weakref.ref] = []

    def load(*arguments: object) -> Renderer:
        gc.collect()
        assert not [one for one in loaded if one() is not None], "two models at once do not fit"
        loaded.append(weakref.ref(renderer := own(*arguments)))
        return renderer

    monkeypatch.setattr(verification, "load_renderer", load)
    assert run_here("verify", f"run={run}", "num_images=4") == 0
    assert len(loaded) == 2
