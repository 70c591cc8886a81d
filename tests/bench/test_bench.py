"""The job as a person gives it, on next to no work: its JSON is whole. Says nothing of speed."""

import json
from pathlib import Path

import pytest

from darkroom.bench.figure import BENCHMARKS, chosen
from darkroom.domain.errors import DarkroomError
from darkroom.jobs.cli import composed
from darkroom.jobs.console import ExitCode
from tests.jobs.helpers import run_here

SMALL = ("scale=0.01", "num_repeats=1", "num_workers=1", "device=cpu")


@pytest.mark.slow
def test_every_figure_says_what_it_measured_and_each_repeats_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.json"
    figures = "figures=[invariance_tax,pipeline_efficiency_local,gpu_sdxl]"
    assert run_here("bench", figures, *SMALL, f"write_to={file}") == 0
    said = capsys.readouterr().out
    value = json.loads(file.read_text())
    assert {"cores", "memory_bytes", "torch", "diffusers", "ray", "darkroom"} <= set(value["machine"])
    assert value["setting"] == {"scale": 0.01, "num_repeats": 1, "num_workers": 1, "device": "cpu"}
    tax, efficiency, gpu = value["figures"]
    assert list(tax["timings"]) == ["one shape", "free shapes"]
    assert list(efficiency["timings"]) == ["darkroom", "bare loop"]
    for figure in (tax, efficiency):
        assert len(figure["values"]) == 1
        assert all(timing["seconds"] > 0 for each in figure["timings"].values() for timing in each)
        assert figure["name"] in said
    assert gpu["skipped"]


def test_a_figure_that_does_not_exist_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DarkroomError, match="figures: speed is not one of them; they are pipeline_efficiency_local"):
        run_here("bench", "figures=[speed]")


def test_a_figure_that_fails_is_named_and_the_others_are_measured(tmp_path: Path, monkeypatch, capsys) -> None:
    def failing(_: object) -> None:
        raise DarkroomError("bench: too little; use a larger scale")

    monkeypatch.setattr("darkroom.bench.gpu.gpu_sd15", failing)
    file = tmp_path / "bench.json"
    code = run_here("bench", "figures=[gpu_sd15,gpu_sdxl]", *SMALL, f"write_to={file}")
    assert code == ExitCode.CHECK_FAILED
    assert [each["name"] for each in json.loads(file.read_text())["figures"]] == ["gpu_sdxl"]
    assert "not measured: gpu_sd15: bench: too little; use a larger scale" in capsys.readouterr().err


@pytest.mark.parametrize("override", ["scale=0", "num_repeats=0", "num_workers=0"])
def test_too_little_is_refused(override: str) -> None:
    with pytest.raises(DarkroomError, match="is out of range"):
        run_here("bench", override)


def test_every_benchmark_is_there() -> None:
    from importlib import import_module

    for module, function in BENCHMARKS.values():
        assert callable(getattr(import_module(f"darkroom.bench.{module}"), function))
    assert list(chosen(None)) == list(BENCHMARKS)
    assert composed("bench", []).figures is None
