"""Rebuilt commands say what the run says, whatever is in it: read back by what reads command lines."""

import inspect
import shlex
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import darkroom
from darkroom.api.evaluation_options import EvaluationOptions, Expectation
from darkroom.api.output_options import C2paOptions, OverlayOptions
from darkroom.domain.identity import Cell, ModelIdentity
from darkroom.domain.settings import ModelRef
from darkroom.jobs.arguments import parsed
from darkroom.jobs.cli import composed
from darkroom.jobs.values import evaluation
from darkroom.reporting.commands import run_command, verify_command
from darkroom.runs.cells import CellInfo, Choices, Dropped, Halving
from darkroom.runs.commands import word
from darkroom.runs.run import OutputInfo, PromptsInfo, RunInfo
from darkroom.storage.store import StoreSpec
from tests.reporting.runs import cell

COMMIT = "0123456789abcdef0123456789abcdef01234567"
STORE = StoreSpec("/tmp/run")
INFO = RunInfo(PromptsInfo("demo", "f", 4), OutputInfo("files", "png", 0), 7, 2, 64)
TEXTS = st.text(st.one_of(st.sampled_from("\\'\"${}[],:=a \n\t#~!()"), st.characters(exclude_categories=["Cs", "Cc"])))


def read(command: str):
    """The configuration that a command makes."""
    program, job, *overrides = shlex.split(command)
    assert program == "darkroom"
    return composed(job, overrides)


def hub(name: str, **identity: object) -> CellInfo:
    info = cell()
    own = ModelIdentity(name, COMMIT, "float16", "StableDiffusionPipeline", **identity)
    return CellInfo(ModelRef(name), Cell(own, info.cell.sampling))


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(TEXTS)
@example("${")
@example("a ${b} \\${c} \\")
def test_any_text_comes_back_as_it_was(text: str) -> None:
    [override] = shlex.split(word("texts", [text, {"x": text}]))
    assert parsed(override.partition("=")[2]) == [text, {"x": text}]


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "a ${b} \\${c} \\", 'a \\" b', "null", "0012e4", "it's", "a\nb"])
def test_awkward_texts_pass_the_whole_command_line(text: str) -> None:
    words = [word("sampling.negative_prompt", text), word("grid.cells", [{"negative_prompt": text}])]
    config = read(f"darkroom sweep model=paint {' '.join(words)}")
    assert config.sampling.negative_prompt == text
    assert config.grid.cells[0].negative_prompt == text


@pytest.mark.parametrize("image_id", ["0" * 31 + "1", "12e4" * 8, "deadbeef" * 4])
def test_verify_takes_ids_that_look_like_numbers_as_text(image_id: str) -> None:
    store = StoreSpec("s3://bucket/a-b/c", "http://127.0.0.1:4566")
    config = read(verify_command(store, image_id))
    assert (config.run, config.endpoint_url, config.image_id) == (store.uri, store.endpoint_url, image_id)


@pytest.mark.slow
def test_verify_says_that_a_models_code_is_trusted() -> None:
    assert not read(verify_command(StoreSpec("/tmp/run"), "ab")).model.trust_remote_code
    assert read(verify_command(StoreSpec("/tmp/run"), "ab", {"model.trust_remote_code": True})).model.trust_remote_code


def test_addresses_with_spaces_and_quotes_are_quoted() -> None:
    assert read(verify_command(StoreSpec("/tmp/it's a run"), "ab")).run == "/tmp/it's a run"


def test_a_plain_run_is_generated() -> None:
    command = run_command(INFO, [cell()], STORE, 4)
    assert command.startswith("darkroom generate model=paint prompts=demo ")
    config = read(command)
    assert (config.sampling.seed, config.sampling.num_images_per_prompt) == (7, 2)
    assert (config.engine.shard_size, config.engine.batch_size, config.output.uri) == (64, 4, "/tmp/run")


@pytest.mark.slow
def test_a_full_product_is_axes_and_anything_else_is_cells() -> None:
    cells = [cell(guidance_scale=scale, scheduler=name) for scale in (7.5, 1.0) for name in ("euler", "ddim")]
    grid = read(run_command(INFO, cells, STORE, None)).grid
    assert (list(grid.axes.guidance_scale), list(grid.axes.scheduler)) == ([1, 7.5], ["ddim", "euler"])
    grid = read(run_command(INFO, cells[:3], STORE, None)).grid
    assert OmegaConf.to_container(grid.cells) == [
        {"guidance_scale": 7.5, "scheduler": "euler"},
        {"guidance_scale": 7.5, "scheduler": "ddim"},
        {"guidance_scale": 1, "scheduler": "euler"},
    ]


def test_a_hubs_model_is_named_by_its_commit() -> None:
    config = read(run_command(INFO, [hub("a/b", variant="fp16")], STORE, None)).model
    assert (config.repo_id, config.revision, config.variant) == ("a/b", COMMIT, "fp16")
    assert config.dtype.value == "float16"


@pytest.mark.slow
def test_cells_of_models_that_bring_code_have_a_line_of_their_own() -> None:
    lines = run_command(INFO, [hub("a/b"), hub("c/d", trust_remote_code=True)], STORE, None).splitlines()
    assert [read(line).model.trust_remote_code for line in lines] == [False, True]
    assert [read(line).model.repo_id for line in lines] == ["a/b", "c/d"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "given",
    [
        {"kind": "file", "uri": "my prompts.csv", "on_invalid": "record"},
        {"kind": "template", "pattern": "a {x}: '{y}'", "slots": {"x": ["1", "b, c"], "y": ["d"]}, "mode": "random",
         "num_prompts": 3, "seed": 2},
    ],
)  # fmt: skip
def test_prompts_are_named_as_they_were(given: dict) -> None:
    info = replace(INFO, prompts=PromptsInfo("name", "f", 4, given))
    found = OmegaConf.to_container(read(run_command(info, [cell()], STORE, None)).prompts, enum_to_str=True)
    assert {name: found[name] for name in given} == given


def test_prompts_in_memory_are_rendered_again_by_a_call() -> None:
    info = replace(INFO, prompts=PromptsInfo("memory", "f", 4, {"kind": "memory"}))
    cells = [cell(guidance_scale=scale) for scale in (1.0, 7.5)]
    said = run_command(info, cells, STORE, 4)
    assert said.startswith("darkroom.sweep(prompts, axes={'guidance_scale': [1.0, 7.5]}, model='paint', ")
    assert "out='/tmp/run'" in said
    assert said.endswith("engine=darkroom.EngineOptions(shard_size=64, batch_size=4))")
    assert "model='a/b', revision=" in run_command(info, [hub("a/b")], STORE, None)
    of_models = run_command(info, [hub("a/b"), hub("c/d", vae_tiling=True)], STORE, None)
    assert of_models.startswith("darkroom.sweep(prompts, axes={'repo_id': ['a/b', 'c/d']}, model='a/b', ")


def test_rows_that_were_chosen_are_chosen_again() -> None:
    rows = {"where": "lang = 'en'", "limit": 9}
    info = replace(INFO, prompts=PromptsInfo("memory", "f", 4, {"kind": "memory", "on_invalid": "record", **rows}))
    said = run_command(info, [cell()], STORE, None)
    assert said.startswith("""darkroom.generate(darkroom.select(prompts, where="lang = 'en'", limit=9), model=""")
    assert "on_invalid='record'" in said
    info = replace(INFO, prompts=PromptsInfo("p.csv", "f", 4, {"kind": "file", "uri": "/p.csv", **rows}))
    words = shlex.split(run_command(info, [cell()], STORE, None))
    assert {"prompts.uri=/p.csv", "prompts.where=lang = 'en'", "prompts.limit=9"} < {*words}


# Figures and early choices -------------------------------------------------------------------------------------------

MEASURED = {
    "reference": "/photos/a b",
    "extractors": ["demo_clip", {"name": "clip", "source": "/weights"}],
    "expect": [{"figure": "demo_clip.vendi", "lowest": 2}],
}
CELLS = [cell(guidance_scale=scale) for scale in (1.0, 3.0, 5.0, 7.5)]
IDS = [item.cell.cell_id for item in CELLS]
HALVED = Halving(
    {"figure": "demo_clip.vendi", "num_images": 8, "keep": 0.5}, {"extractors": ["pixels"]}, IDS[:3], IDS[:2]
)
CHOICES = Choices([Dropped(IDS[2], 1, 2, 8, "demo_clip.vendi", 1.0, 3, 3, 2)], [HALVED])


@pytest.mark.slow
def test_a_measured_run_is_measured_again() -> None:
    first, second = run_command(INFO, [cell()], STORE, 4, [{}, {"extractors": ["pixels"]}, MEASURED]).splitlines()
    config = read(first)
    assert config.evaluate.value == "inline"
    found = OmegaConf.to_container(config.evaluation)
    assert {name: found[name] for name in ("reference", "extractors")} == {
        name: MEASURED[name] for name in ("reference", "extractors")
    }
    assert [vars(each) for each in evaluation(config.evaluation).expect] == [
        {"figure": "demo_clip.vendi", "lowest": 2, "highest": float("inf")}
    ]
    config = read(second)
    assert (config.run, list(config.extractors)) == (STORE.uri, ["pixels"])


def test_a_run_whose_evaluations_did_not_say_their_options_is_rendered_alone() -> None:
    assert run_command(INFO, [cell()], STORE, 4, [{}]) == run_command(INFO, [cell()], STORE, 4)


@pytest.mark.slow
def test_a_sweep_that_dropped_cells_drops_them_again_and_other_cells_have_a_line_of_their_own() -> None:
    lines = run_command(INFO, CELLS, STORE, 4, [HALVED.evaluation], CHOICES).splitlines()
    halved, other = map(read, lines)
    assert list(halved.grid.axes.guidance_scale) == [1, 3, 5]
    assert (halved.halving.figure, halved.halving.num_images, halved.evaluate.value) == ("demo_clip.vendi", 8, "inline")
    assert list(halved.evaluation.extractors) == list(other.evaluation.extractors) == ["pixels"]
    assert other.sampling.guidance_scale == 7.5
    [plain] = run_command(INFO, CELLS, STORE, 4, [], Choices(CHOICES.dropped)).splitlines()  # of an older version
    assert list(read(plain).grid.axes.guidance_scale) == [1, 3, 7.5]


def test_a_call_gives_no_setting_beside_its_axis() -> None:
    info = replace(INFO, prompts=PromptsInfo("memory", "f", 4, {"kind": "memory"}))
    said = run_command(info, [cell(seed=1), cell(seed=2)], STORE, 4)
    assert "axes={'seed': [1, 2]}" in said
    assert "seed=7" not in said


def test_calls_say_what_is_drawn_marked_and_signed() -> None:
    drawn = OverlayOptions(text="slogan", default_colour="red").settings
    assert drawn
    output = replace(INFO.output, overlay=drawn.to_text(), watermark="Acme", c2pa=True, trajectory_prompts=2)
    info = replace(INFO, output=output, prompts=PromptsInfo("memory", "f", 4, {"kind": "memory"}))
    words: dict[str, Any] = {}
    calls = SimpleNamespace(EngineOptions=darkroom.EngineOptions, generate=lambda prompts, **given: words.update(given))
    eval(run_command(info, [cell()], STORE, 4), {"darkroom": calls, "prompts": []})
    inspect.signature(darkroom.generate).bind([], **words)
    assert OverlayOptions(**words["overlay"]).settings == drawn
    assert (words["watermark"], words["trajectory"], words["trajectory_prompts"]) == ("Acme", True, 2)
    assert C2paOptions(**words["c2pa"]).certificate == "certificate.pem"


def test_calls_say_what_measures_and_halves() -> None:
    """As they stand: what they name is there, and takes these words."""
    info = replace(INFO, prompts=PromptsInfo("memory", "f", 4, {"kind": "memory", "on_invalid": "record"}))
    lines = run_command(info, CELLS[:3], STORE, 4, [MEASURED, HALVED.evaluation], CHOICES).splitlines()
    seen: dict[str, dict] = {}
    calls = SimpleNamespace(
        **{name: getattr(darkroom, name) for name in ("EngineOptions", "EvaluationOptions", "Expectation")},
        sweep=lambda prompts, **words: seen.update(sweep=words),
        evaluate=lambda run, **words: seen.update(evaluate=words),
    )
    for line in lines:
        eval(line, {"darkroom": calls, "prompts": []})
    words = seen["sweep"]
    inspect.signature(darkroom.sweep).bind([], **words)
    assert (words["on_invalid"], words["halving"]) == ("record", HALVED.options)
    assert words["evaluate"] == EvaluationOptions(extractors=["pixels"])
    assert EvaluationOptions(**seen["evaluate"]).expect == [Expectation("demo_clip.vendi", 2)]
