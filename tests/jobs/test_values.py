"""A value that a key does not take is refused alike: on the command line, by --config, in a file that Hydra loads."""

import re
from pathlib import Path

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.jobs.overrides import composed
from darkroom.jobs.values import grid

HEADS = {"config": "", "primary": "defaults: [generate, _self_]\n", "experiment": "# @package _global_\n"}


def words(tmp_path: Path, head: str, text: str) -> list[str]:
    """Flags of a file that holds the text, read in one of three ways."""
    path = tmp_path / "experiment" / "mine.yaml"
    path.parent.mkdir()
    path.write_text(HEADS[head] + text)
    return [f"--config-dir={tmp_path}", "+experiment=mine"] if head == "experiment" else [f"--config={path}"]


def refusal(job: str, given: list[str]) -> str:
    with pytest.raises(DarkroomError) as caught:
        composed(job, given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("sampling.seed=${x}", "sampling.seed=${x}: give a whole number"),
        ("sampling.guidance_scale=${x}", "sampling.guidance_scale=${x}: give a number"),
        ("engine.compile=${x}", "engine.compile=${x}: give true or false"),
        ("engine.num_workers=${x}", "engine.num_workers=${x}: give a whole number"),
        ("engine.batch_size=${x}", "engine.batch_size=${x}: give a whole number from 1 to 4096, or auto"),
        ("evaluation.metrics=${x}", "evaluation.metrics=${x}: give a list"),
        ("evaluation.expect=${x}", "evaluation.expect=${x}: give a list"),
        ("evaluation.expect=[{figure: a, lowest: ${x}}]", "give a list"),
        ("sampling={seed: ${x}}", "sampling.seed=${x}: give a whole number"),
        ("grid.axes.guidance_scale=${x}", "grid.axes.guidance_scale=${x}: give a list"),
        ("grid.cells=${x}", "grid.cells=${x}: give a list"),
        ("grid.axes.guidance_scale=ddim", "grid.axes.guidance_scale=ddim: give a list"),
        ("grid.axes.scheduler=1-4", "grid.axes.scheduler=1-4: give a list"),
        ("grid.axes=${x}", "grid.axes=${x}: give keys with values"),
        ("sampling.negative_prompt=null", "null is no value of it; give '' for an empty text, or \"'null'\""),
        ("model=diffusers", "model.repo_id has no value"),
        ("model.repo_id=null", "null is no value of it; give \"'null'\""),
        ("sampling.seed=null", "sampling.seed=null: null is no value of it; give a whole number"),
        ("engine.compile=null", "null is no value of it; give true or false"),
        ("engine.batch_size=null", "engine.batch_size=null: null is no value of it; give a whole number from 1"),
        ("engine.batch_size=1e2", "engine.batch_size=1e2: give a whole number from 1 to 4096, or auto"),
        ("engine.batch_size='5000'", "engine.batch_size=5000 is out of range"),
        ("model={repo_id: x, dtype: foo}", "model.dtype=foo: no such choice; choices are auto, float32"),
        ("sampling={seed: x}", "sampling.seed=x: give a whole number"),
        ("output={uri: ''}", "output.uri=: the value is empty; give one, or null for none"),
        ("model={revision: 1.50}", "model.revision takes text, and 1.5 is none; put it in quotes"),
        ("evaluation.metrics=[1.50]", "evaluation.metrics takes text, and 1.5 is none; put it in quotes"),
        ("grid.axes.revision=[1e4]", "grid.axes.revision takes text, and 10000.0 is none"),
        ("grid.cells=[{revision: 1_0}]", "grid.cells.revision takes text, and 10 is none"),
        ("sampling={seed: 1, seed: 2}", "sampling={seed: 1, seed: 2}: seed is there twice; give it once"),
    ],
)
def test_a_word_is_refused_with_the_key_and_what_it_takes(word: str, said: str) -> None:
    assert said in refusal("sweep", [word])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("slots", "said"),
    [
        ("{x: [1, 1.50]}", "prompts.slots.x takes text, and 1 is none; put it in quotes, such as '1'"),
        ('{x: ["a"], x: ["b"]}', 'prompts.slots={x: ["a"], x: ["b"]}: x is there twice; give it once'),
    ],
)
def test_slots_take_texts_each_once(slots: str, said: str) -> None:
    assert said in refusal("plan", ["prompts=template", "prompts.pattern=a {x}", f"prompts.slots={slots}"])


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sampling: {seed: x}", "sampling.seed=x: give a whole number"),
        ("sampling: {seed: 010}", "sampling.seed: 010 is 8 to YAML; write 8, or the number that is meant"),
        ("sampling: {seed: 1:30}", "sampling.seed: 1:30 is 90 to YAML; write 90"),
        ("sampling: {seed: 0x10}", "sampling.seed: 0x10 is 16 to YAML; write 16"),
        ("sampling: {guidance_scale: 1:30.5}", "sampling.guidance_scale: 1:30.5 is 90.5 to YAML; write 90.5"),
        ("sampling: {seed: null}", "sampling.seed=null: null is no value of it; give a whole number"),
        ("sampling: {negative_prompt: null}", "null is no value of it; give '' for an empty text, or 'null'"),
        ("engine: {compile: null}", "engine.compile=null: null is no value of it; give true or false"),
        ("engine: {batch_size: null}", "engine.batch_size=null: null is no value of it; give a whole number from 1"),
        ("engine: {batch_size: 1e2}", "engine.batch_size=1e2: give a whole number from 1 to 4096, or auto"),
        ("output: {uri: ''}", "output.uri=: the value is empty; give one, or null for none"),
        ("model: {dtype: foo}", "model.dtype=foo: no such choice; choices are auto, float32"),
        ("foo", "it holds only 'foo'; give keys with values"),
        ("5", "it holds only '5'; give keys with values"),
    ],
)
def test_a_value_of_a_file_is_refused_with_the_file_the_key_and_what_it_takes(
    tmp_path: Path, head: str, text: str, said: str
) -> None:
    if head == "primary" and text in ("foo", "5"):
        return  # with a defaults list it is no YAML
    found = refusal("generate", words(tmp_path, head, text))
    assert found.startswith(str(tmp_path / "experiment" / "mine.yaml"))
    assert said in found


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
def test_what_one_file_says_every_reader_reads(tmp_path: Path, head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    text = "output: {uri: ~/out}\nengine: {batch_size: '4'}\nsampling: {seed: 007}\n"
    config = composed("generate", words(tmp_path, head, text))
    assert (config.output.uri, config.engine.batch_size, config.sampling.seed) == ("/home/me/out", 4, 7)


@pytest.mark.slow
def test_home_is_filled_in_in_a_models_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("defaults: [schema, _self_]\nrepo_id: ~/foo\n")
    assert composed("generate", [f"--config-dir={tmp_path}", "model=mine"]).model.repo_id == "/home/me/foo"


def test_a_number_in_quotes_is_one() -> None:
    config = composed("generate", ["engine.batch_size='4'", "engine.shard_size='4'"])
    assert (config.engine.batch_size, config.engine.shard_size) == (4, 4)


@pytest.mark.slow
def test_numbers_are_texts_in_a_file_where_texts_are_needed(tmp_path: Path) -> None:
    text = "prompts: {kind: template, pattern: 'a {x}', slots: {x: [1, 1.50]}}\n"
    assert composed("plan", words(tmp_path, "config", text)).prompts.slots == {"x": ["1", "1.50"]}
    axes = "grid: {axes: {revision: [0123]}, cells: [{revision: 0123, seed: 1}]}\n"
    (tmp_path / "axes.yaml").write_text(axes)
    grid = composed("sweep", [f"--config={tmp_path / 'axes.yaml'}"]).grid
    assert (grid.axes.revision, grid.cells) == (["0123"], [{"revision": "0123", "seed": 1}])


@pytest.mark.parametrize("text", ["sampling: {seed: '${nothing}'}", "sampling: {seed: '${output.layout}'}"])
def test_what_a_file_fills_in_with_nothing_is_named(tmp_path: Path, text: str) -> None:
    assert refusal("generate", words(tmp_path, "config", text)).startswith("sampling.seed: ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("defaults: [mine, _self_]", "leads back to itself ({0} -> {0}); take that entry out"),
        ("defaults: [{{override /model: sdxl}}, _self_]", "{0}: begin its defaults list with `- generate`"),
        ("defaults: [generate, {{override /modl: sdxl}}, _self_]", "override /modl: no such group of "
         "`darkroom generate`; did you mean model?"),
        ("defaults: [generate, {{override /model: null}}, _self_]", "override model=null: give one of "),
        ("defaults: [generate, {{override /model: [sdxl, sd15]}}, _self_]", "give one of "),
        ("defaults: [generate, _self_]\nmodel: paint", "model: a choice stands in the file's defaults list; write "
         "`defaults: [{{override /model: paint}}, _self_]`"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("more", [[], ["prompts=demo"]])
def test_a_defaults_list_is_refused_with_what_is_wrong_with_it(
    tmp_path: Path, text: str, said: str, more: list[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text.format())
    assert said.format(path) in refusal("generate", [f"--config={path}", *more])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("defaults: [other]", "leads back to itself"),
        ("defaults: [{override /model: null}]", "override model=null: give one of "),
        ("defaults: [{override /model: [sdxl, sd15]}]", "give one of "),
        ("model: paint", "write `defaults: [{override /model: paint}, _self_]`"),
    ],
)
def test_a_defaults_list_of_a_group_is_checked_too(tmp_path: Path, text: str, said: str) -> None:
    flags = words(tmp_path, "experiment", text)
    (tmp_path / "experiment" / "other.yaml").write_text("# @package _global_\ndefaults: [mine]\n")
    assert re.match(rf"{tmp_path}/experiment/mine.yaml: .*{re.escape(said)}", refusal("generate", flags))


@pytest.mark.parametrize("text", ["1-9 (+4)", '"1-9 (+4)"', "'1-9(+4)'", "[1, '5-9 (+4)']", "1, 5, 9", "1-9 [3]"])
def test_numbers_of_an_axis_are_a_list_or_ranges(text: str) -> None:
    assert list(grid(composed("sweep", [f"grid.axes.guidance_scale={text}"]).grid).axes["guidance_scale"]) == [1, 5, 9]


def test_a_file_may_say_ranges_too(tmp_path: Path) -> None:
    (tmp_path / "axes.yaml").write_text(
        "grid:\n  axes:\n    num_inference_steps: 10-30 [3]\n    guidance_scale: [1-2, 7.5]\n"
    )
    axes = grid(composed("sweep", [f"--config={tmp_path / 'axes.yaml'}"]).grid).axes
    assert (axes["num_inference_steps"], axes["guidance_scale"]) == ([10, 20, 30], [1, 2, 7.5])


def test_a_range_that_is_not_clear_is_refused_before_anything_starts() -> None:
    with pytest.raises(DarkroomError, match=r"grid.axes.guidance_scale=1.5-3: its step is not clear"):
        grid(composed("sweep", ["grid.axes.guidance_scale=1.5-3"]).grid)


def test_slots_have_numbers_where_they_are_numbers() -> None:
    slots = "{n: {from: 1, to: 3}, x: [a, {value: b, weight: 3}]}"
    given = ["prompts=template", "prompts.pattern=a {n} {x}", f"prompts.slots={slots}"]
    assert composed("prompts", given).prompts.slots == {
        "n": {"from": 1, "to": 3},
        "x": ["a", {"value": "b", "weight": 3}],
    }
    assert "prompts.slots.x.value takes text, and 2 is none" in refusal(
        "prompts", ["prompts=template", "prompts.pattern=a {x}", "prompts.slots={x: [{value: 2}]}"]
    )
