"""What `engine.compile=auto` comes to: by numbers, by what is known of a model, and for a request."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import darkroom
from darkroom.api import compiling
from darkroom.api.arguments import prompts_of
from darkroom.api.checking import Checked, Request, check
from darkroom.api.compiling import Compiling, chosen, decided, num_shapes
from darkroom.api.evaluation_options import HalvingOptions
from darkroom.api.options import EngineOptions
from darkroom.api.proving import certificate_key
from darkroom.api.speeds import (
    Measured,
    Speed,
    SpeedKeeper,
    keep_speed,
    measured_speed,
    settled_as,
    speed_of,
    usual_speed,
)
from darkroom.domain.certificates import Certificate, Check
from darkroom.domain.identity import Shard
from darkroom.domain.setting_values import sampling_defaults
from darkroom.domain.settings import Sampling
from darkroom.engine.planning import Grid
from darkroom.engine.tasks import ShardDone, ShardReport, ShardTask
from darkroom.rendering.renderer import RendererSpec
from darkroom.runs.certificates import put_certificate
from darkroom.runs.commands import presets
from darkroom.storage.local import user_cache

SD15 = Speed(1 / 7.11, 1 / 11.4, 98.0)


@pytest.mark.parametrize(
    ("num_images", "num_workers", "num_shapes", "is_on"),
    [
        (3_600, 1, 1, False),  # saves 191 s, and twice the cost is 196
        (3_800, 1, 1, True),
        (40_000, 8, 1, True),
        (20_000, 8, 1, False),  # each worker compiles
        (40_000, 1, 12, False),  # so does each size
    ],
)
def test_it_is_on_where_it_saves_twice_its_cost(
    num_images: int, num_workers: int, num_shapes: int, is_on: bool
) -> None:
    assert decided(num_images, num_workers, num_shapes, SD15).is_on is is_on


def test_it_says_why() -> None:
    assert decided(40_000, 1, 1, SD15).text == "compile: on, 40,000 images repay about 98 s"
    assert decided(400, 2, 1, SD15).text == "compile: off, 400 images on 2 workers would save 11 s and cost about 98 s"
    assert decided(10**9, 1, 1, Speed(1.0, 1.1, 5.0)).text.startswith(
        "compile: off, 1,000,000,000 images would save 0 s"
    )
    assert Compiling(False).text == ""


SAMPLING = Sampling("default", 5.0, 20, 512, 512)


def test_what_is_not_measured_follows_from_figures_of_one_gpu() -> None:
    assert usual_speed("StableDiffusionPipeline", SAMPLING) == SD15
    half = usual_speed("StableDiffusionPipeline", replace(SAMPLING, num_inference_steps=10))
    assert (half.eager_s, half.compile_s) == (SD15.eager_s / 2, 98.0)
    assert usual_speed("StableDiffusionPipeline", replace(SAMPLING, guidance_scale=1.0)).eager_s == SD15.eager_s / 2
    other = usual_speed("FluxPipeline", SAMPLING)
    assert other.eager_s == SD15.eager_s
    assert other.eager_s / other.compiled_s == pytest.approx(1.70 / 1.22)
    assert other.compile_s == 120.0


def test_measured_values_count_first_and_the_rest_follows() -> None:
    usual = Speed(2.0, 1.0, 100.0)
    assert speed_of(usual, Measured()) == usual
    assert speed_of(usual, Measured(eager_s=6.0)) == Speed(6.0, 3.0, 100.0)
    assert speed_of(usual, Measured(compiled_s=6.0, compile_s=30.0)) == Speed(12.0, 6.0, 30.0)
    assert speed_of(usual, Measured(5.0, 4.0, 30.0)) == Speed(5.0, 4.0, 30.0)
    assert Measured(compile_s=90.0).seen(True, 4.0, 9.0) == Measured(None, 4.0, 90.0)
    assert Measured(compile_s=90.0).seen(False, 4.0, 9.0) == Measured(4.0, None, 90.0)


# Of requests ----------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an empty cache, that can compile."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(compiling, "lacks_for_compiling", lambda: "")


ENGINE = EngineOptions(batch_size=4)


def checked(rows: Any = ("a",), model: dict[str, Any] | None = None, name: str = "demo", **given: Any) -> Checked:
    """Of the embedded model, a million images a prompt."""
    grid, halving = given.pop("grid", None), given.pop("halving", None)
    ref = replace(presets()[name], **(model or {}))
    asked = sampling_defaults() | {"height": 64, "width": 64, "num_images_per_prompt": 1_000_000} | given
    return check(Request(prompts_of(list(rows)), ref, asked, grid=grid, halving=halving), "cpu")


def choice(found: Checked, device: str = "cuda", **options: Any) -> Compiling:
    return chosen(found, replace(ENGINE, **options), device, 1, None)


def test_a_long_job_on_a_gpu_is_compiled_and_no_other() -> None:
    assert choice(checked()).text == "compile: on, 1,000,000 images repay about 98 s"
    assert choice(checked(num_images_per_prompt=1_000)).text.startswith("compile: off, 1,000 images would save 1 s")
    assert choice(checked(), "cpu") == choice(checked(), "mps") == choice(checked(name="paint")) == Compiling(False)
    assert choice(checked(), "cpu", compile=True) == Compiling(True)
    assert choice(checked(), compile=False) == Compiling(False)
    assert choice(checked(), batch_size="auto").is_on
    assert choice(checked(), part="2/10").text.startswith("compile: off, 100,000 images would save")


def test_what_is_compiled_anew_again_and_again_is_not_compiled_by_itself() -> None:
    assert "rows have sizes of their own" in choice(checked([{"prompt": "a", "height": 72}])).text
    assert "LoRAs are switched" in choice(checked(model={"loras": ("darkroom/sketch",)})).text
    few, many = (checked(grid=Grid({"guidance_scale": [5, 6], "height": sizes})) for sizes in ([64], [64, 72, 80]))
    assert [num_shapes(few), num_shapes(many)] == [1, 3]
    kinds = Grid({"cache_interval": [1, 2], "guidance_stop": [1.0, 0.5]})
    assert num_shapes(checked(grid=kinds)) == 1 + 3 + 2 + 6
    assert num_shapes(checked([{"prompt": "a", "guidance_scale": 1}, "b"])) == 2
    halved = HalvingOptions("demo_clip.clip_score", num_images=64)
    assert "128 images would save" in choice(replace_request(few, halving=halved)).text


def replace_request(found: Checked, **changes: Any) -> Checked:
    return replace(found, request=replace(found.request, **changes))


def test_a_machine_that_cannot_compile_does_not_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "lacks_for_compiling", lambda: "a C compiler")
    assert choice(checked()).text == "compile: off, this machine lacks a C compiler"


def test_a_run_keeps_what_it_began_with() -> None:
    found = checked()
    run = found.run_info()
    assert run.compile is None
    assert [chosen(found, ENGINE, "cuda", 1, replace(run, compile=was)).is_on for was in (True, False, None)] == [
        True, False, False,
    ]  # fmt: skip
    assert chosen(found, ENGINE, "cpu", 1, replace(run, compile=True)).text == "compile: on, as this run began"
    assert chosen(found, replace(ENGINE, compile=False), "cuda", 1, replace(run, compile=True)) == Compiling(False)
    assert [settled_as(ENGINE, replace(run, compile=was)).compile for was in (True, None)] == [True, False]
    assert settled_as(replace(ENGINE, compile=True), run).compile is True


def test_a_runs_file_says_it(tmp_path: Path) -> None:
    for _ in range(2):
        darkroom.generate(["a"], model="paint", out=tmp_path / "run", height=16, width=16)
        assert json.loads((tmp_path / "run" / "run.json").read_text())["compile"] is False


# What was measured ----------------------------------------------------------------------------------------------------


def test_what_earlier_jobs_measured_decides() -> None:
    found = checked(num_images_per_prompt=10_000)
    item = found.cells[0]
    spec = RendererSpec(item.model, "cuda", 4)
    assert not choice(found).is_on
    keep_speed(spec, item.cell.sampling, 1.0, 3.0)
    assert measured_speed(spec, item.cell.sampling) == Measured(eager_s=1.0)
    assert choice(found).is_on
    keep_speed(replace(spec, compile=True), item.cell.sampling, 0.999, 70.0)
    assert choice(found).text == "compile: off, 10,000 images would save 10 s and cost about 70 s"
    assert measured_speed(spec, replace(item.cell.sampling, height=72)) == Measured()
    assert measured_speed(replace(spec, batch_size=8), item.cell.sampling) == Measured()
    keep_speed(replace(spec, device="cpu"), item.cell.sampling, 1.0, 3.0)
    assert measured_speed(replace(spec, device="cpu"), item.cell.sampling) == Measured()


def test_shards_tell_how_fast_they_were_and_what_the_first_call_took() -> None:
    item = checked().cells[0]
    spec = RendererSpec(item.model, "cuda", 4, compile=True)
    keeper = SpeedKeeper([spec], {"seed"})
    hear = keeper.listener(lambda _: None)
    task = ShardTask(Shard(item.cell.cell_id, 0, 4, "x"), item.cell, (), None)  # type: ignore[arg-type]
    for worker, seconds in (("a", 100.0), ("b", 500.0), ("a", 8.0), ("a", 12.0)):  # b's first shard alone says nothing
        hear(ShardDone(task, ShardReport(4, 0, 0, render_s=seconds, wall_s=seconds), worker))
    keeper.keep()
    assert measured_speed(spec, item.cell.sampling) == Measured(None, 2.5, 90.0)
    uneven = SpeedKeeper([replace(spec, batch_size=8)], {"num_inference_steps"})
    hear = uneven.listener(lambda _: None)
    for _ in range(2):
        hear(ShardDone(task, ShardReport(4, 0, 0, render_s=1.0, wall_s=1.0), "a"))
    uneven.keep()
    assert measured_speed(replace(spec, batch_size=8), item.cell.sampling) == Measured()


# What was proved ------------------------------------------------------------------------------------------------------


def keep_certificate(found: Checked, is_compiled: bool, difference: int) -> None:
    item = found.cells[0]
    spec = RendererSpec(item.model, "cuda", 4, is_compiled)
    checks = (Check("neighbours", difference),)
    certificate = Certificate("r", "v", "float32", "P", "cuda", 4, is_compiled, 64, 64, 2, {}, "now", checks)
    put_certificate(user_cache("certificates"), certificate_key(spec, item.cell), certificate)


def test_compiled_code_is_not_trusted_with_what_certificates_deny_or_do_not_know() -> None:
    found = checked()
    assert "no certificate of compiled code is kept, and engine.proof=required" in choice(found, proof="required").text
    keep_certificate(found, False, 0)
    assert choice(found).is_on
    keep_certificate(found, False, 99)
    assert "images were seen to depend on each other" in choice(found).text
    assert choice(found, proof="off").is_on
    keep_certificate(found, True, 0)
    assert choice(found).is_on
    assert choice(found, proof="required").is_on
