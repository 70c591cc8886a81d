"""A run's policy from what a person says to what a dataset holds: checked before any work, end to end, and resumed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import darkroom
from darkroom import DarkroomError
from darkroom.api.arguments import policy_rules, prompts_of
from darkroom.api.checking import Request, check
from darkroom.api.evaluation_options import EvaluationOptions
from darkroom.api.events import FeaturesStarted, Progress, Warned, silent
from darkroom.api.maintenance import retry
from darkroom.api.measuring import told_of_choice
from darkroom.api.options import EngineOptions
from darkroom.api.output_options import C2paOptions
from darkroom.api.policies import check_policy, run_specs
from darkroom.api.verification import check_manifests, check_stored, verify
from darkroom.domain.policy import Policy
from darkroom.domain.settings import ModelRef
from darkroom.evaluation.figures import Figure
from darkroom.evaluation.sharpness import Sharpness
from darkroom.rendering.renderer import PAINT_REPO_ID
from darkroom.runs.encoding import pixels_digest
from darkroom.runs.images import stored_files
from darkroom.runs.reading import records
from darkroom.runs.run import RunInfo, open_run
from darkroom.storage.store import open_store, parse_spec
from tests.jobs.test_gc import fail_first
from tests.reporting.runs import CLIP

SHARPNESS = "darkroom.evaluation.sharpness:make"
SCORING: Mapping[str, Any] = {"extractors": [SHARPNESS]}
DROP = {"figure": "score", "above": 40_000, "then": "drop"}


def checked(
    policy: Sequence[Mapping[str, Any]],
    scoring: Mapping[str, Any] = SCORING,
    progress: Progress = silent,
    **sampling: Any,
) -> Policy:
    request = Request(
        prompts_of(["a", "b"]),
        ModelRef(PAINT_REPO_ID),
        policy=policy_rules(policy),
        scoring=EvaluationOptions(**scoring),
    )
    request = replace(request, sampling={**request.sampling, **sampling})
    found = check_policy(check(request, "cpu"), None, progress)
    assert found is not None
    return found.policy


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            {"figure": "nope.score", "above": 1, "then": "drop"},
            "no score of single images 'nope.score'.* sharpness.score",
        ),
        ({"figure": "score", "then": "drop"}, "score has a threshold without a direction"),
        ({"figure": "score", "above": 1, "below": 2, "then": "drop"}, "score has above and below"),
        ({"figure": "score", "above": float("nan"), "then": "drop"}, "a threshold of nan"),
        ({"figure": "score", "above": "high", "then": "drop"}, "above='high': give a number"),
        ({"figure": "score", "above": 1}, "score says not what then"),
        ({"figure": "score", "above": 1, "then": "blacken"}, "then=blacken: no such choice; choices are keep, drop"),
        ({"figure": "score", "above": 1, "then": "drop", "attempts": 3}, "attempts=3: is of then=regenerate"),
        ({"figure": "score", "above": 1, "then": "regenerate", "attempts": 1}, "attempts=1 is out of range"),
        ({"figure": "score", "above": 1, "then": "drop", "of": 4}, "of=4: is not of an entry with figure"),
        ({"by": "score", "of": 4, "then": "drop"}, "then=drop: is not of an entry with by"),
        ({"by": "score"}, "of is missing"),
        ({"by": "score", "keep": 4, "of": 4}, "keep=4 of 4 leaves nothing to choose"),
        ({"by": "score", "keep": 2, "of": 4}, "num_images_per_prompt=1"),
        ({"of": 4}, "an entry without figure and by"),
        ({"figur": "score"}, "no option 'figur'; did you mean figure"),
        ({}, "an entry without figure and by"),
    ],
)
def test_what_decides_nothing_is_refused_before_any_work(entry: Mapping[str, Any], said: str) -> None:
    with pytest.raises(DarkroomError, match=said):
        checked([entry])


def test_figures_of_sets_and_ambiguous_names_are_refused_with_those_that_do() -> None:
    two = {"extractors": [SHARPNESS, {"name": SHARPNESS, "alias": "other"}]}
    with pytest.raises(
        DarkroomError, match=r"score is of several extractors; give one of sharpness.score, other.score"
    ):
        checked([DROP], two)
    with pytest.raises(DarkroomError, match="two entries keep the best"):
        checked([{"by": "score", "of": 3}, {"by": "score", "of": 2}])
    with pytest.raises(DarkroomError, match="none of the extractors has a score of single images"):
        checked([{"figure": "vendi", "above": 1, "then": "drop"}], {"extractors": ["pixels"]})


def test_a_policy_says_itself_as_a_command_does() -> None:
    found = checked([{"figure": "score", "below": 0.5, "then": "regenerate"}, {"by": "score", "of": 3}])
    assert found.entries == [
        {"figure": "sharpness.score", "then": "regenerate", "below": 0.5, "attempts": 5, "otherwise": "drop"},
        {"keep": 1, "of": 3, "by": "sharpness.score"},
    ]
    assert found == checked(found.entries)
    assert found.named_extractors == [SHARPNESS]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"above": -1, "then": "drop"}, "lies between 0 and 2.5, so that it holds for every image"),
        ({"below": 2.6, "then": "regenerate"}, "it holds for every image"),
        ({"above": 2.5, "then": "drop"}, "it holds for none"),
        ({"below": 0, "then": "drop"}, "it holds for none"),
        ({"below": 0.5, "then": "drop"}, None),
    ],
)
def test_a_rule_that_chooses_nothing_is_told(entry: Mapping[str, Any], said: str | None) -> None:
    told: list[object] = []
    checked([{"figure": "clip_score", **entry}], {"extractors": ["demo_clip"]}, told.append)
    warned = [event.text for event in told if isinstance(event, Warned)]
    assert [said in text for text in warned] == [True] if said else not warned


def test_a_figure_by_which_images_were_chosen_says_so_and_no_other_does() -> None:
    policy = checked([{"figure": "score", "below": 9, "then": "keep"}, {"by": "clip_score", "of": 2}],
                     {"extractors": [SHARPNESS, "demo_clip"]})  # fmt: skip
    ids = {figure.name: figure.extractor_id for figure in policy.figures}
    clip, sharp = (replace(CLIP, extractor_id=ids[name]) for name in ("demo_clip.clip_score", "sharpness.score"))
    metrics = {"mine.clip_score": clip, "demo_clip.vendi": clip, "sharpness.score": sharp}
    figures = {name: Figure(1.0, None, None, 8, None, ("small",)) for name in metrics}
    told = told_of_choice(policy, metrics, figures)
    assert {name for name, figure in told.items() if "policy chose images by it" in figure.warnings[0]} == {
        "mine.clip_score"
    }
    assert told["mine.clip_score"].warnings[1:] == ("small",)
    assert told_of_choice(None, metrics, figures) == figures
    dropping = checked([{"figure": "score", "below": 9, "then": "drop"}])
    assert "policy chose" in told_of_choice(dropping, metrics, figures)["sharpness.score"].warnings[0]


def paint(out: Path, policy: Sequence[Mapping[str, Any]], **options: Any) -> darkroom.Run:
    prompts = [f"p{number}" for number in range(8)]
    return darkroom.generate(
        prompts, model="paint", out=out, policy=policy, evaluate=SCORING, height=32, width=32, **options
    )


def test_a_run_goes_on_with_its_own_policy_alone(tmp_path: Path) -> None:
    run = paint(tmp_path, [DROP])
    assert set(run.status().by_status) == {"ok", "filtered"}
    for other in ([], [{**DROP, "above": 40_001}], [DROP, {"by": "score", "of": 2}]):
        with pytest.raises(DarkroomError, match=r"policy is 'drop where sharpness.score above 40000"):
            paint(tmp_path, other)
    (tmp_path / "run.json").unlink()
    with pytest.raises(DarkroomError, match=r"policy was 'drop where sharpness.score above 40000.* is 'none'"):
        paint(tmp_path, [])
    again = paint(tmp_path, [DROP])
    assert again.records.equals(run.records)


def test_a_run_without_a_policy_is_called_and_reads_as_before(tmp_path: Path) -> None:
    run = paint(tmp_path, [])
    about = json.loads((tmp_path / "run.json").read_text())
    del about["policy"]
    (tmp_path / "run.json").write_text(json.dumps(about))
    assert paint(tmp_path, []).records.equals(run.records)
    assert run.records["policy_rejected"].isna().all()


def test_no_stored_run_starts_code_of_ones_own(tmp_path: Path) -> None:
    info: RunInfo = paint(tmp_path, [DROP]).info
    with pytest.raises(DarkroomError, match=rf"name it again as .*extractors=\[.*{SHARPNESS}"):
        run_specs(info, None, "cpu")
    [spec] = run_specs(info, [SHARPNESS], "cpu")
    assert info.policy
    assert spec.pin
    assert spec.pin.info.extractor_id in info.policy.extractor_ids
    with pytest.raises(DarkroomError, match=r"sharpness.score of the run's policy is of .* and here are pixels"):
        run_specs(info, ["pixels"], "cpu")
    assert not retry(darkroom.open_run(tmp_path), EngineOptions(), lambda _: None).num_tried  # filtered ones stay


@pytest.mark.parametrize("layout", ["files", "webdataset"])
def test_images_that_are_made_again_have_their_rows_texts_and_are_signed_once_they_are_chosen(
    layout: Any, tmp_path: Path
) -> None:
    rows = [{"prompt": f"p{number}", "slogan": ["Sale", None, "New"][number]} for number in range(3)]
    again = {"figure": "score", "above": 0, "then": "regenerate", "attempts": 3, "otherwise": "keep"}  # the least sharp
    run = darkroom.generate(
        rows, model="paint", out=tmp_path, layout=layout, height=64, width=64, num_images_per_prompt=2, policy=[again],
        evaluate=SCORING, overlay={"text": "slogan"}, c2pa={"certificate": "test"},
    )  # fmt: skip
    found = run.table()
    assert max(found["sample_index"].to_pylist()) > 1, "none was made again"
    assert [json.loads(text)["text"] if text else None for text in found["overlay"].to_pylist()] == [
        "Sale", "Sale", None, None, "New", "New",
    ]  # fmt: skip
    whole = {record.image_id: record for record in records(run.store)}
    stored = {file.record.image_id: file.pixels() for file in stored_files(run.store, list(whole.values()))}
    for record in whole.values():
        digest = pixels_digest(stored[record.image_id])
        assert digest == (record.stored_pixels_sha256 or record.pixels_sha256)
        assert (digest != record.pixels_sha256) == bool(record.overlay)
        [score] = json.loads(record.policy_scores or "").values()
        assert score == pytest.approx(float(Sharpness().scores([stored[record.image_id]], [])[0]))
    assert verify(run, silent).num_equal == 6
    assert check_manifests(run, silent).num_valid == 6
    keys = {info.key for info in run.store.list() if "c2pa" in info.key or info.key.startswith("sidecars/")}
    assert keys == {record.c2pa_key for record in whole.values()}, "what was not kept is signed too"

    fail_first(run.store)
    retry(run, EngineOptions(), silent, extractors=[SHARPNESS], c2pa=C2paOptions("test"))
    assert {record.image_id: record.sha256 for record in records(run.store)} == {
        image_id: record.sha256 for image_id, record in whole.items()
    }
    assert check_manifests(run, silent).num_valid == 6
    assert not check_stored(run, silent).is_damaged


@pytest.mark.slow
def test_the_best_of_the_embedded_models_images_become_a_dataset(tmp_path: Path) -> None:
    prompts = ["a red circle", "a blue square left of a red cross", "two green rings"]
    engine = {"kind": "local", "batch_size": 3, "backend": "torch"}
    settings: dict[str, Any] = {"num_inference_steps": 2, "engine": engine}
    every = darkroom.generate(prompts, out=tmp_path / "every", evaluate=True, num_images_per_prompt=3, **settings)
    best = darkroom.generate(
        prompts, out=tmp_path / "best", policy=[{"keep": 1, "of": 3, "by": "clip_score"}], **settings
    )
    plain, kept = every.records, best.records
    plain["score"] = [row["demo_clip.clip_score"] for row in exported(every, tmp_path / "scored")]
    wanted = plain.loc[plain.groupby("prompt_id")["score"].idxmax()].sort_values("row")
    assert kept["sha256"].tolist() == wanted["sha256"].tolist()
    found = [json.loads(text)["demo_clip.clip_score"] for text in kept["policy_scores"]]
    assert found == pytest.approx(wanted["score"].tolist(), abs=1e-6)

    told: list[Any] = []
    best.evaluate(progress=told.append)  # by the scores that are there
    assert not [event for event in told if isinstance(event, FeaturesStarted)]
    assert verify(best, lambda _: None).num_equal == 3
    assert str(best.status().policy) == "3 of 9 images that were made (33.3 %)"
    darkroom.export(best, tmp_path / "dataset")
    card = (tmp_path / "dataset" / "README.md").read_text()
    page = (tmp_path / "best" / "report" / "index.html") if best.report() else None
    for text in (card, page.read_text() if page else ""):
        assert "keep 1 of 3 with the highest demo_clip.clip_score" in text
        assert "6 x not the best 1 of 3 by demo_clip.clip_score" in text
    assert "policy=[{'keep': 1, 'of': 3, 'by': 'demo_clip.clip_score'}]" in card
    assert open_run(open_store(parse_spec(best.uri))) == best.info


def exported(run: darkroom.Run, to: Path) -> list[dict[str, Any]]:
    """In order of records."""
    import pyarrow.parquet as pq

    darkroom.export(run, to, scores=["demo_clip.clip_score"])
    [shard] = (to / "data").glob("*.parquet")
    rows = {row["image_id"]: row for row in pq.read_table(shard).to_pylist()}
    return [rows[image_id] for image_id in run.records["image_id"]]
