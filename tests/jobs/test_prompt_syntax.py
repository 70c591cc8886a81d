"""Runs whose prompts hold weights and LoRAs, and runs with FreeU: with the same promises as any other run."""

import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

import darkroom
from darkroom.domain.errors import DarkroomError
from tests.jobs.helpers import PAINT, run_here
from tests.jobs.test_loras import both, job, records
from tests.rendering.tiny_loras import tiny_lora
from tests.rendering.tiny_models import tiny_flux, tiny_sd

SYNTAX = "sampling.prompt_syntax=a1111"
ROWS = """prompt,prompt_syntax,negative_prompt,lora
a (red:1.8) cat <lora:ink:0.5>,,,
a (red:1.8) cat <lora:ink:0.5>,plain,,
a dog <lora:oil><lora:ink:0.5>,,(blue:2),
a [cow],,,none
a pig,,,
a hen <lora:ink:0.5><lora:oil:1>,,,
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and two LoRAs."""
    folder = tmp_path_factory.mktemp("made")
    tiny_lora(tiny_sd(folder / "model"), folder / "ink")
    tiny_lora(folder / "model", folder / "oil", 2, with_text=True)
    return folder


@pytest.mark.slow
def test_neither_shards_nor_order_nor_a_new_start_change_an_image(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert job("generate", made, one, both(made), SYNTAX, prompts=ROWS) == 0
    assert "3 prompts name their LoRAs, and the other 3 are made with all of model.loras" in capsys.readouterr().err
    head, *rows = ROWS.splitlines()
    given = ("generate", made, two, both(made), SYNTAX, "engine.shard_size=2")
    other = "\n".join([head, *reversed(rows), ""])
    assert job(*given, prompts=other) == 0
    for shard in list((two / "metadata").rglob("*.parquet"))[:2]:
        shard.unlink()
    assert job(*given, prompts=other) == 0
    found, again = (records(run).sort_values(["prompt", "prompt_syntax"]) for run in (one, two))
    assert list(found.sha256) == list(again.sha256)
    assert found.pixels_sha256.nunique() == len(found) == 6
    assert run_here("verify", f"run={two}") == 0
    used = {
        (row.prompt, row.prompt_syntax): (
            row.lora,
            [(each["name"], each["weight"]) for each in json.loads(row.model_parts)],
        )
        for row in found.itertuples()
    }
    everything = [("ink", 0.8), ("oil", 1.0)]
    assert used == {
        ("a (red:1.8) cat <lora:ink:0.5>", "a1111"): ("ink", [("ink", 0.5)]),
        ("a (red:1.8) cat <lora:ink:0.5>", "plain"): ("", everything),
        ("a dog <lora:oil><lora:ink:0.5>", "a1111"): ("ink+oil", [("ink", 0.5), ("oil", 1.0)]),
        ("a [cow]", "a1111"): ("none", []),
        ("a pig", "a1111"): ("", everything),
        ("a hen <lora:ink:0.5><lora:oil:1>", "a1111"): ("ink+oil", [("ink", 0.5), ("oil", 1.0)]),
    }
    text = Image.open(one / found[found.prompt.str.startswith("a dog")].key.iloc[0]).text
    assert text["parameters"].startswith("a dog <lora:ink:0.5> <lora:oil:1>\nNegative prompt: (blue:2)\n")
    assert json.loads(text["darkroom"])["prompt"] == "a dog <lora:oil><lora:ink:0.5>"


@pytest.mark.slow
def test_weights_do_what_the_same_words_without_them_do_not(made: Path, tmp_path: Path) -> None:
    rows = "prompt,prompt_id,prompt_syntax,seed\na red cat,x,plain,7\na (red:1) cat,y,,7\na (red:2) cat,z,,7\n"
    run = tmp_path / "run"
    assert job("generate", made, run, SYNTAX, "sampling.clip_skip=1", prompts=rows) == 0
    found = records(run).set_index("prompt_id").pixels_sha256
    assert found["x"] == found["y"] != found["z"]
    assert set(records(run).truncated) == {False}


@pytest.mark.slow
def test_from_python_with_captions_that_are_words_alone(tmp_path: Path) -> None:
    """A score of an image and its prompt is of the words, whether it is made at once or afterwards."""
    small = {"num_inference_steps": 1, "model": "demo"}
    inline, later, plain = (
        darkroom.generate(
            [{"prompt": prompt, "prompt_id": "a", "num_images_per_prompt": 3}],
            out=tmp_path / name,
            prompt_syntax=syntax,
            evaluate=at_once,
            **small,
        )
        for name, prompt, syntax, at_once in (
            ("inline", "a (large:1) red circle", "a1111", True),
            ("later", "a (large:1) red circle", "a1111", False),
            ("plain", "a large red circle", "plain", False),
        )
    )
    scores = []
    for run in (inline, later, plain):
        [figures] = run.evaluate(metrics=["clip_score"]).evaluation.cells.values()
        scores.append(figures["demo_clip.clip_score"].value)
    assert scores[0] == scores[1] == scores[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prompt", "error"),
    [
        ("a <lora:inc:1>", r"prompts, row 1: <lora:inc>: model has no LoRA 'inc'; give one of ink, oil"),
        (
            "a [b:c:0.5]",
            r"prompts, row 1: \[\.\.\.:0\.5\] changes the prompt between steps.*\(prompt: 'a \[b:c:0\.5\]'\)",
        ),
        ("a (b:99)", r"prompts, row 1: \(\.\.\.:99\): weight 99 is not from -10 to 10"),
        ("a <lora:ink:1>,ink", r"prompts, row 1: its lora=ink and <lora:ink> both choose LoRAs"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_with_its_prompt(
    made: Path, tmp_path: Path, prompt: str, error: str
) -> None:
    rows = f"prompt,lora\na cat,\n{prompt}{'' if ',' in prompt else ','}\n"
    with pytest.raises(DarkroomError, match=error) as caught:
        job("generate", made, tmp_path / "run", both(made), SYNTAX, prompts=rows)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_model_that_is_given_text_takes_no_weights_of_cells_or_rows(tmp_path: Path) -> None:
    file = tmp_path / "prompts.csv"
    file.write_text("prompt,prompt_syntax\na cat,a1111\n")
    flux = ("model=diffusers", f"model.repo_id={tiny_flux(tmp_path / 'flux')}", "engine=local")
    flux = (*flux, "engine.device=cpu", "sampling.guidance_scale=null")
    reason = "=a1111: FluxPipeline of flux is given prompts as text, where words have no weights; leave it out"
    for words in ((SYNTAX,), ("prompts=file", f"prompts.uri={file}")):
        with pytest.raises(DarkroomError, match=f"prompt_syntax{reason}"):
            run_here("generate", *flux, *words, f"output.uri={tmp_path / 'run'}")
    with pytest.raises(DarkroomError, match=r"sampling\.freeu_b1=1\.2: the steps of FluxPipeline cannot be changed"):
        run_here("generate", *flux, "sampling.freeu_b1=1.2", f"output.uri={tmp_path / 'run'}")


@pytest.mark.slow
def test_marks_that_are_encoded_as_text_are_warned_of(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = "a (red:1.2) cat\na <lora:ink:1>\na (small) dog\n"
    assert job("plan", made, tmp_path / "run", prompts=prompts) == 0
    assert "2 prompts hold (word:1.2) or <lora:name:1>, which are encoded as text" in capsys.readouterr().err


@pytest.mark.slow
def test_an_axis_of_loras_that_every_prompt_wins_over_is_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(DarkroomError, match=r"grid\.axes\.lora: every prompt names the LoRAs"):
        job("sweep", made, tmp_path, both(made), SYNTAX, "grid.axes.lora=[ink,oil]", prompts="a <lora:ink:1>\n")


@pytest.mark.slow
def test_freeu_is_an_axis_whose_cells_are_their_own(made: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert job("generate", made, run) == 0
    before = records(run)
    assert job("sweep", made, run, "grid.axes.freeu_b1=[1,1.4]", "grid.axes.freeu_s1=[1,0.6]") == 0
    found = records(run)
    assert found.groupby("prompt").pixels_sha256.nunique().tolist() == [4, 4]
    plain = found[(found.freeu_b1 == 1) & (found.freeu_s1 == 1)]
    assert set(plain.image_id) == set(before.image_id)  # the cell without it is called as it was
    assert run_here("verify", f"run={run}", "num_images=8") == 0
    assert run_here("report", f"run={run}") == 0


def test_the_painter_reads_prompts_too(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("a (red:1.2) cat\n")
    given = (*PAINT, "prompts=file", f"prompts.uri={file}", SYNTAX)
    assert run_here("generate", *given, f"output.uri={tmp_path / 'run'}") == 0
    assert list(pd.read_parquet(tmp_path / "run" / "metadata").prompt_syntax) == ["a1111"]


UNREADABLE = """prompt,lora,num_images_per_prompt
a cat,ink,
a <lora:inc:1>,,
a [b:c:0.5],,3
a dog,inc,
a pig,none,
"""


@pytest.mark.slow
def test_rows_that_cannot_be_read_are_recorded_where_that_is_asked(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    given = ("generate", made, run, both(made), SYNTAX, "prompts.on_invalid=record", "engine.shard_size=2")
    assert job(*given, prompts=UNREADABLE) == 3  # rows failed
    said = capsys.readouterr()
    assert (
        "3 prompts cannot be rendered, and are recorded as invalid: prompts, row 1: <lora:inc>: model has" in said.err
    )
    found = pd.read_parquet(run / "metadata").sort_values(["row", "sample_index"])
    assert list(found.status) == ["ok", *["invalid"] * 5, "ok"]
    assert list(found.error.dropna().str[:14].unique()) == ["<lora:inc>: mo", "[...:0.5] chan", "column lora=in"]
    for shard in list((run / "metadata").rglob("*.parquet"))[:2]:
        shard.unlink()
    assert job(*given, prompts=UNREADABLE) == 3  # rows failed
    again = pd.read_parquet(run / "metadata").sort_values(["row", "sample_index"])
    assert list(again.sha256.fillna("")) == list(found.sha256.fillna(""))
    assert run_here("verify", f"run={run}") == 0
    assert run_here("retry", f"run={run}", "engine=local", "engine.device=cpu") == 3
    assert run_here("report", f"run={run}") == 0
    with pytest.raises(DarkroomError, match="column lora=inc: model has no LoRA 'inc'"):
        job("generate", made, tmp_path / "other", both(made), SYNTAX, prompts=UNREADABLE)


@pytest.mark.slow
def test_a_row_may_be_invalid_in_one_cell_alone(made: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    axis = f"grid.axes.loras=[[{made / 'ink'}],[{made / 'oil'}]]"
    given = ("sweep", made, run, SYNTAX, axis, "prompts.on_invalid=record")
    assert job(*given, prompts="prompt,x\na <lora:ink:1>,\na cat,\n") == 3
    found = pd.read_parquet(run / "metadata")
    assert sorted(found[found.row == 0].status) == ["invalid", "ok"]
    assert set(found[found.row == 1].status) == {"ok"}
