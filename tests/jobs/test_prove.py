"""Certificates through the command: `prove` makes one, `plan` and `generate` go by it, the run and report show it."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import darkroom
from darkroom.domain.errors import DarkroomError
from darkroom.rendering import families, model_facts
from darkroom.rendering.family import Family, Text
from tests.jobs.helpers import run_here
from tests.rendering.tiny_families import tiny
from tests.rendering.tiny_loras import tiny_lora
from tests.rendering.tiny_models import tiny_sd

SMALL = ("sampling.num_inference_steps=1", "engine.batch_size=2", "engine.device=cpu")
TWO_STEPS = ("model=demo", "engine.batch_size=2", "sampling.num_inference_steps=2")


@pytest.fixture(autouse=True)
def cache(own_cache: Path) -> Path:
    return own_cache / "certificates" / "certificates"


@pytest.fixture(scope="module")
def proved(tmp_path_factory: pytest.TempPathFactory, make_cache: Callable[[Path], Path]) -> Path:
    """The part of a cache that has one certificate."""
    home = tmp_path_factory.mktemp("proved")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home))
        folder = make_cache(home) / "certificates"
        assert run_here("prove", *TWO_STEPS) == 0
    return folder


@pytest.mark.slow
def test_a_certificate_is_made_once_and_goes_with_the_run(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_here("prove", *SMALL) == 0
    printed = capsys.readouterr().out
    assert "an image does not depend on the images beside it" in printed
    assert "result:   7 bit-exact, 6 settings act" in printed
    [kept] = cache.iterdir()
    made = kept.stat().st_mtime_ns
    run = ("prompts=demo", "engine=local", *SMALL, f"output.uri={tmp_path / 'run'}")
    assert run_here("plan", *run, "engine.proof=exact") == 0
    assert "proof:   7 bit-exact, 6 settings act" in capsys.readouterr().out
    assert run_here("generate", *run, "engine.proof=exact") == 0
    assert kept.stat().st_mtime_ns == made
    [held] = (tmp_path / "run" / "certificates").iterdir()
    assert held.read_bytes() == kept.read_bytes()
    assert run_here("report", f"run={tmp_path / 'run'}") == 0
    assert "7 bit-exact, 6 settings act" in (tmp_path / "run" / "report" / "index.html").read_text()


@pytest.mark.slow
def test_what_is_required_and_not_there_is_refused_before_anything_is_rendered(tmp_path: Path) -> None:
    run = ("prompts=demo", "engine=local", *SMALL, f"output.uri={tmp_path / 'run'}", "engine.proof=required")
    with pytest.raises(DarkroomError, match="has no certificate for this device, batch size, image size"):
        run_here("generate", *run)
    assert not (tmp_path / "run" / "run.json").exists()
    with pytest.raises(DarkroomError, match=r"engine\.proof=required: a self-test is of models in diffusers"):
        run_here("generate", "model=paint", *run)
    with pytest.raises(DarkroomError, match="darkroom/paint: a self-test is of models"):
        run_here("prove", "model=paint")


@pytest.mark.slow
def test_a_model_whose_images_see_each_other_renders_one_image_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table: Mapping[str, Family] = families.FAMILIES
    faulty = replace(table["CogView4Pipeline"], text=Text.FIXED)  # as it was before its ragged text was known
    monkeypatch.setattr(model_facts, "FAMILIES", {**table, "CogView4Pipeline": faulty})
    model = ("model=diffusers", f"model.repo_id={tiny('cogview4', tmp_path / 'model')}")
    given = (*model, "sampling.height=32", "sampling.width=32", "engine.batch_size=4")
    given = (*given, "sampling.num_inference_steps=2")
    assert run_here("prove", *given) == 1
    assert "mode:     one image a batch" in capsys.readouterr().out
    (tmp_path / "prompts.csv").write_text("prompt\na red circle\n" + "a very long prompt of many words " * 3 + "\n")
    prompts = ("prompts=file", f"prompts.uri={tmp_path / 'prompts.csv'}", "engine=local")
    assert run_here("generate", *given, *prompts, f"output.uri={tmp_path / 'run'}") == 0
    assert "an image does not depend on its place in the batch: fails" in capsys.readouterr().err
    found = pd.read_parquet(tmp_path / "run" / "metadata")
    assert set(found.batch_size) == {1}
    assert run_here("verify", f"run={tmp_path / 'run'}") == 0
    with pytest.raises(DarkroomError, match=r"engine\.proof=adapt renders in the mode in which images stand alone"):
        run_here("generate", *given, *prompts, f"output.uri={tmp_path / 'other'}", "engine.proof=required")
    assert run_here("generate", *given, *prompts, f"output.uri={tmp_path / 'as_asked'}", "engine.proof=off") == 0
    as_asked = pd.read_parquet(tmp_path / "as_asked" / "metadata")
    assert set(as_asked.batch_size) == {4}
    assert set(as_asked.sha256) != set(found.sha256)


@pytest.mark.slow
def test_a_run_goes_on_in_the_mode_that_it_began_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny("z_image", tmp_path / "model")
    given = ("model=diffusers", f"model.repo_id={model}", "sampling.height=32", "sampling.width=32", *SMALL)
    (tmp_path / "prompts.csv").write_text("prompt\na red circle\na blue square\n")
    prompts = ("prompts=file", f"prompts.uri={tmp_path / 'prompts.csv'}", "engine=local")
    assert run_here("generate", *given, *prompts, f"output.uri={tmp_path / 'run'}") == 0
    [settled] = (tmp_path / "run" / "certificates").iterdir()
    assert settled.read_text() == "null\n"  # it had none
    assert run_here("prove", *given) == 0
    before = sorted((tmp_path / "run" / "metadata").rglob("*"))
    assert run_here("generate", *given, *prompts, f"output.uri={tmp_path / 'run'}") == 0
    assert settled.read_text() == "null\n"
    assert sorted((tmp_path / "run" / "metadata").rglob("*")) == before
    assert run_here("generate", *given, *prompts, f"output.uri={tmp_path / 'other'}") == 0
    assert "promises" not in capsys.readouterr().err
    assert len((tmp_path / "other" / "certificates" / settled.name).read_text()) > 100


@pytest.mark.slow
def test_every_cell_needs_a_certificate_where_one_is_required(tmp_path: Path) -> None:
    model = ("model=diffusers", f"model.repo_id={tiny_sd(tmp_path / 'model')}", "sampling.height=16", *SMALL)
    prompts = ("prompts=template", "prompts.pattern=a {x}", "prompts.slots={x: [dot]}", "engine=local")
    assert run_here("prove", *model, "sampling.width=16") == 0
    given = (*model, *prompts, "engine.proof=required", f"output.uri={tmp_path / 'run'}")
    with pytest.raises(DarkroomError, match=r"model \(.*32x16\) has no certificate"):
        run_here("sweep", *given, "grid.axes.width=[16,32]")
    assert run_here("prove", *model, "sampling.width=32") == 0
    assert run_here("sweep", *given, "grid.axes.width=[16,32]") == 0


@pytest.mark.slow
def test_a_certificate_that_cannot_be_read_is_made_anew_in_a_cache_and_refused_in_a_run(
    tmp_path: Path, cache: Path
) -> None:
    assert run_here("prove", *SMALL) == 0
    run = ("prompts=demo", "engine=local", *SMALL, f"output.uri={tmp_path / 'run'}")
    assert run_here("generate", *run) == 0
    [settled] = (tmp_path / "run" / "certificates").iterdir()
    settled.write_text("{broken")
    with pytest.raises(DarkroomError, match="not readable as a certificate"):
        run_here("generate", *run)
    [kept] = cache.iterdir()
    kept.write_text("{broken")
    assert run_here("plan", *run[:-1]) == 0
    assert kept.read_text() != "{broken"


@pytest.mark.slow
def test_a_model_with_a_lora_has_one_certificate_for_proof_and_rendering(tmp_path: Path) -> None:
    model = tiny_sd(tmp_path / "model")
    lora = tiny_lora(model, tmp_path / "ink")
    given = ("model=diffusers", f"model.repo_id={model}", f"model.loras=[{lora}]", *SMALL)
    given = (*given, "sampling.height=16", "sampling.width=16")
    prompts = ("prompts=template", "prompts.pattern=a {x}", "prompts.slots={x: [dot]}", "engine=local")
    assert run_here("prove", *given) == 0
    assert run_here("generate", *given, *prompts, "engine.proof=required", f"output.uri={tmp_path / 'run'}") == 0
    with pytest.raises(DarkroomError, match="has no certificate"):  # that was of the LoRA switched on
        run_here(
            "generate", *given, *prompts, "sampling.lora=none", "engine.proof=required", f"output.uri={tmp_path / 'b'}"
        )


@pytest.mark.slow
def test_python_gives_the_certificate(cache: Path) -> None:
    found = darkroom.prove(model="demo", engine=darkroom.EngineOptions(batch_size=2), num_inference_steps=1)
    assert found.is_exact
    assert found.may_batch
    assert (found.batch_size, found.num_inference_steps) == (2, 2)
    assert len(list(cache.iterdir())) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "word", "said"),
    [
        ("height", None, r"engine\.proof=required: column height: a certificate is of one height for all images"),
        ("clip_skip", None, r"column clip_skip: .*prompts\.columns\.clip_skip=null, or give engine\.proof=adapt"),
        ("guidance_scale", None, None),
        ("seed", None, None),
        (None, "sampling.cache_interval=2", r"sampling\.cache_interval=2: a self-test leaves it out"),
    ],
)
def test_images_that_no_certificate_speaks_of_are_refused(
    proved: Path, own_cache: Path, tmp_path: Path, column: str | None, word: str | None, said: str | None
) -> None:
    values = {"height": 32, "clip_skip": 1, "guidance_scale": 7.0, "seed": 5}
    rows = {"prompt": ["a red circle"], **({column: [values[column]]} if column else {})}
    pd.DataFrame(rows).to_csv(tmp_path / "prompts.csv", index=False)
    shutil.copytree(proved, own_cache / "certificates")
    prompts = ("prompts=file", f"prompts.uri={tmp_path / 'prompts.csv'}", "engine=local", "engine.proof=required")
    given = (*TWO_STEPS, *prompts, f"output.uri={tmp_path / 'run'}", *([word] if word else []))
    if said is None:
        assert run_here("generate", *given) == 0
        return
    with pytest.raises(DarkroomError, match=said):
        run_here("generate", *given)
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").rglob("*.png"))


def test_what_a_self_test_leaves_out_is_refused() -> None:
    with pytest.raises(DarkroomError, match=r"prove: sampling\.freeu_b1=1\.5: a self-test leaves it out"):
        run_here("prove", "model=demo", "engine.batch_size=2", "sampling.freeu_b1=1.5")


@pytest.mark.slow
def test_loras_that_prompts_name_are_refused_where_a_certificate_is_required(tmp_path: Path) -> None:
    (tmp_path / "prompts.csv").write_text("prompt\na red circle <lora:sketch:0.7>\na blue square\n")
    given = ("model=demo", "model.loras=[darkroom/sketch]", "sampling.lora=none", "engine.batch_size=2")
    given = (*given, "sampling.prompt_syntax=a1111", "sampling.num_inference_steps=2")
    prompts = ("prompts=file", f"prompts.uri={tmp_path / 'prompts.csv'}", "engine=local", "engine.proof=required")
    with pytest.raises(DarkroomError, match="prompts name LoRAs, and a certificate is of one choice"):
        run_here("generate", *given, *prompts, f"output.uri={tmp_path / 'run'}")
