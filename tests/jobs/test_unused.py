"""What is given and would do nothing is refused with the key that it needs, before anything is done."""

from pathlib import Path

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.jobs.cli import run_job
from darkroom.jobs.overrides import composed

TEMPLATE = ("prompts=template", "prompts.pattern=a {x}", "prompts.slots={x: [a]}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "unused", "needed"),
    [
        ("generate", ("evaluation.reference=/nonexist",), ("evaluate=inline",)),
        ("plan", ("evaluation={seed: 3}",), ("evaluate=inline",)),
        (
            "plan",
            ("policy=[{by: a.b, of: 2}]", "evaluation.extractors=[a:b]", "evaluation.seed=3"),
            ("evaluate=inline",),
        ),
        ("sweep", ("halving.keep=0.3",), ("halving.figure=a.b",)),
        ("sweep", ("halving.num_images=8",), ("halving.figure=a.b",)),
        ("sweep", ("grid.seed=1",), ("grid.num_cells=2",)),
        ("plan", (*TEMPLATE, "prompts.seed=1"), ("prompts.mode=random",)),
    ],
)
def test_a_key_that_another_leaves_unused_is_refused(
    job: str, unused: tuple[str, ...], needed: tuple[str, ...]
) -> None:
    with pytest.raises(DarkroomError) as caught:
        composed(job, unused)
    key = needed[0].partition("=")[0]
    assert str(caught.value).startswith(f"{unused[-1]}: it does nothing without {key}=")
    assert composed(job, [*unused, *needed])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "axis"),
    [
        ("sampling.guidance_scale=5", "grid.axes.guidance_scale=[1,3]"),
        ("sampling.guidance_scale=5", "grid=guidance"),
        ("model.loras=[a.safetensors]", "grid.axes.loras=[[b.safetensors]]"),
        ("model.dtype=float16", "grid.axes.dtype=[float32]"),
        ("model.repo_id=a/b", "grid.axes.repo_id=[c/d,e/f]"),
    ],
)
def test_a_value_beside_an_axis_of_the_setting_is_refused(value: str, axis: str, tmp_path: Path) -> None:
    why = "it is an axis of the grid as well; leave one of them out"
    if (value, axis) != ("sampling.guidance_scale=5", "grid=guidance"):  # which has that value
        with pytest.raises(DarkroomError) as caught:
            composed("sweep", [value, axis])
        assert str(caught.value) == f"{value}: {why}"
        assert composed("sweep", [value, axis, "grid.cells=[{eta: 0.5}]"])  # which has no value of its own
    assert composed("sweep", [axis])
    key, _, given = value.partition("=")
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"{key}: {given.replace('5', '6')}\n")
    with pytest.raises(DarkroomError, match=f"^{mine}: {key}=.*: {why}$"):
        composed("sweep", [f"--config={mine}", axis])


@pytest.mark.slow
def test_what_a_preset_says_and_what_is_said_of_none_may_stand_beside_an_axis() -> None:
    preset = ("preset=mlperf-sdxl", "prompts.uri=p.csv", "grid.axes.guidance_scale=[6,7]")
    assert composed("sweep", preset).sampling.guidance_scale == 8
    for value in ("7", "null"):
        assert composed("sweep", [*preset, f"sampling.guidance_scale={value}"])
    with pytest.raises(DarkroomError, match=r"^sampling.guidance_scale=5: it is an axis"):
        composed("sweep", [*preset, "sampling.guidance_scale=5"])
    assert composed("sweep", ["model=lcm-sdxl", "grid.axes.loras=[[a.safetensors]]"])
    assert composed("sweep", ["sampling.seed=3", "grid.axes.seed=[1,2]"])  # the run's own as well


@pytest.mark.slow
def test_a_section_in_one_word_is_refused_as_its_keys_are() -> None:
    with pytest.raises(DarkroomError, match=r"^halving.keep=0.3: it does nothing without halving.figure="):
        composed("sweep", ["halving={keep: 0.3}"])
    with pytest.raises(DarkroomError, match=r"^sampling.guidance_scale=5.0: it is an axis"):
        composed("sweep", ["sampling={guidance_scale: 5}", "grid.axes.guidance_scale=[1]"])


@pytest.mark.slow
@pytest.mark.parametrize("word", ["num_images=3", "seed=1", "image_id=x", "device=cpu", "model.repo_id=x"])
def test_what_renders_nothing_draws_no_sample(word: str) -> None:
    with pytest.raises(DarkroomError, match=f"{word}: it does nothing beside stored=true; leave one of them out"):
        composed("verify", ["run=x", "stored=true", word])
    assert composed("verify", ["run=x", word])


@pytest.mark.slow
@pytest.mark.parametrize("flags", [["--config={}/experiment/mine.yaml"], ["--config-dir={}", "+experiment=mine"]])
def test_a_file_whose_keys_do_nothing_is_refused(tmp_path: Path, flags: list[str]) -> None:
    path = tmp_path / "experiment" / "mine.yaml"
    path.parent.mkdir()
    path.write_text("# @package _global_\nevaluation: {metrics: [clip_score]}\n")
    words = [flag.format(tmp_path) for flag in flags]
    with pytest.raises(DarkroomError, match="it does nothing without evaluate=inline") as caught:
        composed("generate", words)
    assert str(caught.value).startswith(str(tmp_path))
    assert composed("generate", [*words, "evaluate=inline"]).evaluation.metrics == ["clip_score"]


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["preset=mlperf-sdxl", "prompts.uri=p.csv", "evaluate=none"]])
def test_what_cfg_job_prints_of_unused_keys_is_taken(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run_job("sweep", [*words, "--cfg", "job"])
    (tmp_path / "mine.yaml").write_text(capsys.readouterr().out)
    assert composed("sweep", [f"--config={tmp_path / 'mine.yaml'}"]) == composed("sweep", words)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "key"),
    [
        ("evaluate", "engine.batch_size=4"),
        ("evaluate", "engine.shard_size=4"),
        ("evaluate", "engine.batch_timeout_s=4"),
        ("evaluate", "engine.compile=true"),
        ("evaluate", "engine.profile=true"),
        ("retry", "engine.shard_size=4"),
        ("retry", "engine.profile=true"),
    ],
)
def test_a_job_has_the_keys_of_the_engine_that_it_reads(job: str, key: str) -> None:
    name = key.partition("=")[0]
    with pytest.raises(DarkroomError, match=f"{name}: no such key of `darkroom {job}`"):
        composed(job, ["run=x", key])
    assert composed("generate", [key])


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ray", "local"])
def test_a_job_on_a_run_has_the_engines_that_others_have(engine: str) -> None:
    config = composed("evaluate", ["run=x", f"engine={engine}", "engine.max_attempts=2"])
    assert (config.engine.kind.value, config.engine.max_attempts) == (engine, 2)
    assert composed("retry", ["run=x", f"engine={engine}", "engine.compile=true"]).engine.compile
