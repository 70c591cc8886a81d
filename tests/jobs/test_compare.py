"""Comparing runs of the paint renderer, scored with features that are made up."""

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.extractor import ExtractorSpec
from darkroom.evaluation.figures import read_evaluations
from darkroom.evaluation.opening import inspect_extractor
from darkroom.runs import manifest
from darkroom.runs.features import ImageFeatures, ShardFeatures, put_features
from darkroom.runs.manifest import to_records
from darkroom.storage.store import open_store, parse_spec
from tests.jobs.helpers import PAINT, run_here

NUM_PROMPTS = 40
CLIP = inspect_extractor(ExtractorSpec("demo_clip"))


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Renders a run of p<first> and on, in a folder of its own."""

    def render(*overrides: str, job: str = "generate", first: int = 0) -> Path:
        folder = tmp_path_factory.mktemp("run")
        prompts = folder / "prompts.txt"
        prompts.write_text("".join(f"p{number}\n" for number in range(first, first + NUM_PROMPTS)))
        uri = folder / "run"
        files = ("prompts=file", f"prompts.uri={prompts}", f"output.uri={uri}", "engine.shard_size=16")
        assert run_here(job, *PAINT, *files, *overrides) == 0
        return uri

    return render


def score(run: Path, better_by: float = 0.0, only: str | None = None) -> None:
    """Features that prompts decide, with some noise of the run's own, and cosines `better_by` higher."""
    store = open_store(parse_spec(str(run)))
    own = np.random.default_rng(len(str(better_by)))
    for name in manifest.committed(store):
        if only in (None, name.cell_id):
            records = to_records(manifest.read(store, name))
            rngs = [np.random.default_rng([int(digit) for digit in record.prompt[1:]]) for record in records]
            features = np.stack([rng.normal(10 * better_by, 1, CLIP.dimension) for rng in rngs])
            features += own.normal(0, 0.01, features.shape)
            cosines = np.array([rng.uniform(0.1, 0.5) for rng in rngs]) + better_by + own.normal(0, 0.01, len(rngs))
            ids = tuple(record.image_id for record in records)
            images = ImageFeatures(
                ids, features.astype(np.float32), cosines.astype(np.float32), np.zeros(len(ids), bool)
            )
            digests = tuple(str(record.sha256) for record in records)
            put_features(store, CLIP.extractor_id, name, ShardFeatures(images, digests, ("",) * len(ids)))


@pytest.fixture(scope="module")
def base(rendered) -> Path:
    run = rendered()
    score(run)
    return run


@pytest.fixture(scope="module")
def worse(rendered) -> Path:
    run = rendered("sampling.guidance_scale=9")
    score(run, -0.05)
    return run


@pytest.mark.slow
def test_a_worse_run_makes_the_exit_code_one_and_a_better_one_none(base: Path, worse: Path, capsys) -> None:
    named = "metrics=[demo_clip.clip_score]"
    assert run_here("compare", f"a={base}", f"b={worse}", named) == 1
    said = capsys.readouterr().out
    assert "pairs:  40, of 40 images in a and 40 in b" in said
    assert re.search(r"demo_clip\.clip_score +↑ +0\.\d+ +0\.\d+ +-0\.1\d+ +\[-0\.1\d+, -0\.1\d+\] +b is worse", said)
    assert "b is worse than a by demo_clip.clip_score" in said
    assert "demo_clip.clip_score: hessel: " in said
    assert run_here("compare", f"a={worse}", f"b={base}", named) == 0
    assert "b is better" in capsys.readouterr().out


@pytest.mark.slow
def test_what_is_worse_within_the_tolerance_is_let_pass(base: Path, worse: Path, capsys) -> None:
    arguments = (f"a={base}", f"b={worse}", "metrics=[demo_clip.clip_score]", "clip_convention=x100")
    assert run_here("compare", *arguments, "tolerance=4") == 1  # it is 5 worse
    assert run_here("compare", *arguments, "tolerance=6") == 0
    assert "no difference shown" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_is_not_worse_than_itself(base: Path) -> None:
    assert run_here("compare", f"a={base}", f"b={base}") == 0


@pytest.mark.slow
def test_without_names_every_metric_with_an_interval_is_compared(base: Path, worse: Path, capsys) -> None:
    run_here("compare", f"a={base}", f"b={worse}")
    found = re.findall(r"^demo_clip\.(\w+) ", capsys.readouterr().out, re.MULTILINE)
    assert found == ["vendi", "clip_score"]


@pytest.mark.slow
def test_distances_are_of_the_features_of_a_reference(base: Path, worse: Path, capsys) -> None:
    arguments = (f"a={base}", f"b={worse}", f"reference={base}")
    assert run_here("compare", *arguments, "metrics=[demo_clip.cmmd]") == 1
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("demo_clip.cmmd "))
    assert line.endswith("b is worse")
    run_here("compare", *arguments)
    said = capsys.readouterr().out
    assert "demo_clip.frechet is left out: 40 images in 64 dimensions rank models by chance" in said
    found = re.findall(r"^demo_clip\.(\w+) ", said, re.MULTILINE)
    assert [name for name in found if name != "frechet"] == [
        "kid",
        "cmmd",
        "precision",
        "density",
        "vendi",
        "clip_score",
    ]


@pytest.mark.slow
def test_only_images_with_a_partner_count_and_other_seeds_are_said(base: Path, rendered, capsys) -> None:
    other = rendered("sampling.seed=1", first=10)
    score(other)
    assert run_here("compare", f"a={base}", f"b={other}", "metrics=[demo_clip.clip_score]") == 0
    said = capsys.readouterr().out
    assert "pairs:  30, of 40 images in a and 40 in b" in said
    assert "different seeds" in said


@pytest.mark.slow
def test_a_cell_of_a_sweep_is_named_by_its_id(base: Path, rendered, capsys) -> None:
    sweep = rendered("grid.axes.guidance_scale=[2,7]", job="sweep")
    cells = {name.cell_id for name in manifest.committed(open_store(parse_spec(str(sweep))))}
    good, bad = sorted(cells)
    score(sweep, 0.0, good)
    score(sweep, -0.05, bad)
    named = "metrics=[demo_clip.clip_score]"
    assert run_here("compare", f"a={sweep}#{good}", f"b={sweep}#{bad}", named) == 1
    assert run_here("compare", f"a={base}", f"b={sweep}#{good}", named) == 0
    with pytest.raises(DarkroomError, match=rf"a=.*the run has 2 cells; write .*#<cell_id> with one of {good} \(sampl"):
        run_here("compare", f"a={sweep}", f"b={base}")
    with pytest.raises(DarkroomError, match=r"b=.*the run has no cell 0123456789abcdef; write"):
        run_here("compare", f"a={base}", f"b={sweep}#0123456789abcdef")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["metrics=[clip_score]"], "clip_score names no extractor; write it like demo_clip.clip_score"),
        (["metrics=[demo_clip.recall]"], "recall has no interval to compare by"),
        (["metrics=[demo_clip.frechet]"], "demo_clip.frechet: needs reference images"),
        (["metrics=[telescope.kid]"], "extractor telescope is not known"),
        (["metrics=[clip.kid]", "extractors=[demo_clip]"], "clip.kid needs clip among the extractors"),
        (["tolerance=-1"], "tolerance=-1.0 is out of range"),
        (["clip_convention=best"], "no 'best'; take one of hessel"),
        (["reference=/nowhere/at/all"], "/nowhere/at/all: nothing is there"),
        (["b=/nowhere/at/all"], "does not exist"),
    ],
)
def test_bad_input_is_one_line_that_names_it(overrides: list[str], words: str, base: Path) -> None:
    with pytest.raises(DarkroomError, match=words) as caught:
        run_here("compare", f"a={base}", f"b={base}", *overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_run_that_is_not_scored_is_refused_with_the_command_that_scores_it(base: Path, rendered) -> None:
    other = rendered("sampling.num_inference_steps=3")
    with pytest.raises(
        DarkroomError, match=r"b=.*not all of its images have features; run \S*darkroom evaluate run="
    ) as caught:
        run_here("compare", f"a={base}", f"b={other}")
    _, job, *overrides = shlex.split(str(caught.value).split("; run ")[1])
    run_here(job, *overrides, "engine=local")
    assert run_here("compare", f"a={other}", f"b={other}") == 0


@pytest.mark.slow
def test_two_runs_that_are_not_scored_are_named_with_what_scores_both(rendered) -> None:
    runs = [rendered(f"sampling.num_inference_steps={number}") for number in (3, 4)]
    metrics = "metrics=[pixels.vendi,demo_clip.clip_score]"
    with pytest.raises(DarkroomError) as caught:
        run_here("compare", f"a={runs[0]}", f"b={runs[1]}", metrics)
    said, _, commands = str(caught.value).partition("; run ")
    assert said == f"a={runs[0]} and b={runs[1]}: not all of their images have features"
    for command in commands.split(" and "):
        _, job, *overrides = shlex.split(command)
        run_here(job, *overrides, "engine=local")
    assert run_here("compare", f"a={runs[0]}", f"b={runs[1]}", metrics) in (0, 1)


@pytest.mark.slow
def test_each_of_several_references_has_lines_of_its_own(base: Path, worse: Path, capsys) -> None:
    references = f"reference={{one: {base}, other: {worse}}}"
    assert run_here("compare", f"a={base}", f"b={worse}", references, "metrics=[demo_clip.cmmd,demo_clip.kid@other]")
    said = capsys.readouterr().out
    assert re.findall(r"^(demo_clip\.\S+) +↓", said, re.MULTILINE) == [
        "demo_clip.cmmd@one", "demo_clip.cmmd@other", "demo_clip.kid@other"
    ]  # fmt: skip
    assert f"compared with one: {base}\n" in said
    assert "pixels of demo_clip: bicubic " in said
    with pytest.raises(DarkroomError, match="no reference is called that; there are one, other"):
        run_here("compare", f"a={base}", f"b={worse}", references, "metrics=[demo_clip.kid@that]")


@pytest.mark.slow
def test_a_run_is_measured_against_several_references_at_once(base: Path, worse: Path, tmp_path: Path, capsys) -> None:
    """One of them a list of one, as a command without names is."""
    shutil.copytree(base, tmp_path / "run")
    words = (f"run={tmp_path / 'run'}", "metrics=[kid,vendi,mind@other]", "mind_num_projections=20")
    references = f"reference={{own: {base}, other: {worse}}}"
    expected = "expect=[{figure: demo_clip.kid@own, highest: 1},{figure: demo_clip.kid@other, highest: 0}]"
    capsys.readouterr()
    assert run_here("evaluate", *words, references, expected, "engine=local") == 1
    said = capsys.readouterr().out
    assert "demo_clip.kid@own" in said
    assert "demo_clip.kid@other" in said
    store = open_store(parse_spec(str(tmp_path / "run")))
    [found] = read_evaluations(store)
    [figures] = found.cells.values()
    assert list(figures) == [f"demo_clip.{name}" for name in ("kid@own", "kid@other", "vendi", "mind@other")]
    assert figures["demo_clip.kid@own"].value < figures["demo_clip.kid@other"].value
    assert {name: list(row.figures) for name, row in found.controls.items()} == {
        "real@own": ["demo_clip.kid@own", "demo_clip.vendi"],
        "real@other": ["demo_clip.kid@other", "demo_clip.vendi", "demo_clip.mind@other"],
    }
    assert found.options["reference"] == {"own": str(base), "other": str(worse)}
    assert run_here("report", f"run={tmp_path / 'run'}") == 0
    page = (tmp_path / "run" / "report" / "report.md").read_text()
    assert "KID against own" in page
    assert "'reference={own:" in page.replace("&#39;", "'") or "evaluation.reference={own:" in page
    assert "demo_clip.mind@other.low" in (tmp_path / "run" / "report" / "table.csv").read_text()
    assert run_here("evaluate", *words[:1], "metrics=[kid]", f"reference=[{base}]", "engine=local") == 0
    assert any(list(*each.cells.values()) == ["demo_clip.kid"] for each in read_evaluations(store))
