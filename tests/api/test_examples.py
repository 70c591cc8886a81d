"""The scripts in infra/examples run, in a folder of their own, and say what they promise."""

import runpy
import sys
from pathlib import Path

import pytest

from darkroom.demo import LORAS
from darkroom.jobs.overrides import composed

EXAMPLES = Path(__file__).parents[2] / "infra" / "examples"
SAID = {
    "generate_from_a_list": ["6 of 6 images", "a green triangle", "(64, 64)"],
    "sweep_and_pick": ["guidance 4, 5 steps", "<- best", "index.html"],
    "dataframe_in_records_out": ["invalid", "row 2 has no image"],
    "evaluate_and_compare": ["demo_clip.clip_score", "worse by"],
    "renderer_of_ones_own": ["dusk", "gradient", "True"],
    "images_of_a_server": ["refused (moderation_blocked)", "filtered", "False", "cost: 0.12", "index.html"],
    "score_of_ones_own": ["redness.score"],
}


def test_every_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == SAID.keys()


@pytest.mark.slow
def test_the_experiment_sweeps_what_is_embedded() -> None:
    config = composed("sweep", ["--config-dir", str(EXAMPLES), "+experiment=loras"])
    assert [str(each) for each in config.model.loras] == [f"darkroom/{style}" for style in LORAS]
    assert set(config.grid.axes.lora) == {"none", *LORAS, "+".join(LORAS)}


@pytest.mark.slow
@pytest.mark.parametrize("name", SAID)
def test_an_example_runs_and_goes_on(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    path = EXAMPLES / f"{name}.py"
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(path), str(tmp_path / "out")])
    runpy.run_path(str(path), run_name="__main__")
    said = capsys.readouterr().out
    assert [words for words in SAID[name] if words not in said] == []
    assert path.read_text().startswith('"""')
