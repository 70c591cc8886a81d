"""People decide between the cells of runs that jobs made: the page, votes that come back, and what they count as."""

import json
import math
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

import darkroom
from darkroom.domain.errors import DarkroomError
from darkroom.runs.ratings import Study, read_study, stored_votes, study_ids
from darkroom.storage.store import Store, open_store, parse_spec
from tests.jobs.helpers import PAINT, named, run_here

NUM_PROMPTS = 30


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "prompts.txt"
    path.write_text("".join(f"p{number}\n" for number in range(NUM_PROMPTS)))
    return path


@pytest.fixture(scope="module")
def base(prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A sweep of three cells, with features of pictures' edges."""
    uri = tmp_path_factory.mktemp("base") / "run"
    words = ("prompts=file", f"prompts.uri={prompts}", "grid.axes.guidance_scale=[1,3,7]")
    sharp = ("evaluate=inline", "evaluation.extractors=[darkroom.evaluation.sharpness:make]")
    assert run_here("sweep", *PAINT, *words, *sharp, f"output.uri={uri}") == 0
    return open_store(parse_spec(str(uri)))


@pytest.fixture
def run(base: Store, tmp_path: Path) -> Store:
    shutil.copytree(base.spec.uri, tmp_path / "run")
    return open_store(parse_spec(str(tmp_path / "run")))


def written(run: Store, *words: str) -> Study:
    assert run_here("rate", *named(run), "num_pairs=60", "num_repeats=6", *words) == 0
    [study_id] = study_ids(run)
    study = read_study(run, study_id)
    assert study
    return study


def send(study: Study, folder: Path, rater: str = "ann", best: str | None = None) -> Path:
    """Votes of a rater who likes one cell, and of others the one with the lower id."""
    best = best or min(study.cell_ids)

    def choice(left: str, right: str) -> str:
        liked = best if best in (left, right) else min(left, right)
        return "left" if left == liked else "right"

    lines = [
        {"study": study.study_id, "pair": place, "rater": rater, "seconds": 2.0,
         "choice": "tie" if place % 10 == 9 else choice(pair.left.cell_id, pair.right.cell_id)}
        for place, pair in enumerate(study.pairs)
    ]  # fmt: skip
    path = folder / f"{rater}.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


@pytest.mark.slow
def test_votes_become_figures_of_the_run(run: Store, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    study = written(run)
    said = capsys.readouterr().out
    assert "pairs:  60 of 3 cells, and 6 that come again; 132 images" in said
    assert "expect: a rater's votes on all pairs tell each cell's win rate to ± 0.15" in said
    page = run.describe(f"ratings/{study.study_id}/page/index.html")
    assert f"page:   {page}" in said
    assert Path(page).exists()
    files = [send(study, tmp_path, rater) for rater in ("ann", "bo")]
    assert run_here("rate", *named(run), f"votes=[{','.join(map(str, files))}]") == 0
    said = capsys.readouterr().out
    best = min(study.cell_ids)
    for words in ("raters.win_rate ↑", "raters.bradley_terry ↑", "ann ", "bo ", "agreement on 60 pairs"):
        assert words in said, said
    assert re.search(r"sharpness\.score +\d+ +0\.\d+ +\[", said), said
    found = darkroom.open_run(run.spec.uri)
    rates = {cell: figures["raters.win_rate"] for cell, figures in found.figures.items()}
    assert max(rates, key=lambda cell: rates[cell].value) == best
    assert rates[best].low > 0.8
    assert found.metrics["raters.win_rate"].higher_is_better
    assert run_here("report", *named(run)) == 0
    table = pd.read_parquet(Path(run.spec.uri) / "report" / "metrics.parquet")
    rows = table[table.metric == "raters.win_rate"]
    assert len(rows) == 3
    assert rows.best.sum() == 1
    assert rows.difference.notna().sum() == 2
    assert rows.value.between(rows.low, rows.high).all()
    assert "Win rate" in (Path(run.spec.uri) / "report" / "index.html").read_text()


@pytest.mark.slow
def test_what_is_evaluated_later_has_them_too_and_two_cells_are_compared_by_them(
    run: Store, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    study = written(run)
    words = (*named(run), "engine=local", "extractors=[darkroom.evaluation.sharpness:make]")
    expected = "expect=[{figure: raters.win_rate, lowest: 0.9}]"
    with pytest.raises(DarkroomError, match=r"raters\.win_rate is of people's votes, and none is there"):
        run_here("evaluate", *words, expected)
    darkroom.rate(run.spec.uri, votes=[send(study, tmp_path)])
    assert run_here("evaluate", *words, expected, "metrics=[score]") == 1  # of the best cell alone it holds
    assert run_here("evaluate", *words, expected.replace("0.9", "0")) == 0
    capsys.readouterr()
    assert run_here("evaluate", *words) == 0
    said = capsys.readouterr().out
    assert "raters.win_rate ↑" in said
    assert "warning" not in said
    best, *_, worst = sorted(study.cell_ids)
    cells = (f"a={run.spec.uri}#{best}", f"b={run.spec.uri}#{worst}")
    assert run_here("compare", *cells, "metrics=[raters.win_rate]") == 1
    said = capsys.readouterr().out
    assert "b is worse than a by raters.win_rate" in said
    assert "votes on 20 pairs of a and b" in said
    turned = (f"a={run.spec.uri}#{worst}", f"b={run.spec.uri}#{best}")
    assert run_here("compare", *turned, "metrics=[raters.win_rate]") == 0
    run_here("compare", *cells, "extractors=[darkroom.evaluation.sharpness:make]")
    said = capsys.readouterr().out
    assert "sharpness.score" in said
    assert "raters.win_rate" in said


@pytest.mark.slow
def test_bad_votes_are_refused_with_the_remedy_and_nothing_is_stored(run: Store, tmp_path: Path) -> None:
    study = written(run)
    good = send(study, tmp_path)
    other = tmp_path / "other.jsonl"
    other.write_text(good.read_text().replace(study.study_id, "0" * 16))
    beyond = tmp_path / "beyond.jsonl"
    beyond.write_text(good.read_text().splitlines()[0].replace('"pair": 0', '"pair": 66'))
    changed = tmp_path / "changed.jsonl"
    changed.write_text(good.read_text().replace('"tie"', '"skip"', 1))
    (tmp_path / "empty").mkdir()
    cases = {
        f"[{other}]": "of study 0{16}, which the run .* does not have; give the run that the page was written from",
        f"[{beyond}]": "a vote on pair 66, and study .* has 66",
        f"[{good},{changed}]": r"changed\.jsonl: rater 'ann' voted on pair 9 .* in .*ann\.jsonl too, and otherwise",
        f"[{tmp_path / 'nowhere'}]": "votes: .*nowhere: no file of votes is there",
        f"[{tmp_path / 'empty'}]": "votes: .*empty: no file of votes is there",
        "[]": "holds no vote that counts; write a page",
    }
    for given, words in cases.items():
        with pytest.raises(DarkroomError, match=words) as caught:
            run_here("rate", *named(run), f"votes={given}")
        assert "\n" not in str(caught.value)
    assert not list(run.list(f"ratings/{study.study_id}/votes/"))
    assert run_here("rate", *named(run), f"votes=[{good}]") == 0
    with pytest.raises(DarkroomError, match=r"rater 'ann' voted on pair 9 .* in .*ratings/.* too, and otherwise"):
        run_here("rate", *named(run), f"votes=[{changed}]")
    later = tmp_path / "later.jsonl"
    later.write_text(good.read_text() + good.read_text().splitlines()[0].replace("ann", "bo"))
    counts = {len(darkroom.rate(run.spec.uri, votes=votes).votes) for votes in ([], [good, good])}
    assert counts == {66}
    assert len(darkroom.rate(run.spec.uri, votes=[later]).votes) == 67


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("num_pairs=4", "num_repeats=3"), "num_repeats=3 is more than half of num_pairs=4"),
        (("cells=[0123456789abcdef]",), "no cell of this run"),
        (("others=[/nowhere]",), "others"),
        (("votes=[x.jsonl]", "num_pairs=4"), "num_pairs=4: is of the page, and votes are read back"),
        (("votes=[x.jsonl]", "output.uri=x"), "output.uri=.*x: is for the page"),
        (("votes_endpoint_url=http://127.0.0.1:1",), "votes_endpoint_url: is for files of votes"),
        (("question=''",), "question is empty"),
        (("num_pairs=0",), "num_pairs=0"),
    ],
)
@pytest.mark.slow
def test_what_cannot_be_is_refused_before_anything_is_written(base: Store, words: tuple[str, ...], said: str) -> None:
    with pytest.raises(DarkroomError, match=said) as caught:
        run_here("rate", *named(base), *words)
    assert "\n" not in str(caught.value)
    assert study_ids(base) == []


@pytest.mark.slow
def test_cells_of_two_runs_are_rated_and_a_run_keeps_the_figures_of_its_own(
    run: Store, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = ("prompts=file", f"prompts.uri={prompts}", "sampling.guidance_scale=9")
    assert run_here("generate", *PAINT, *words, f"output.uri={tmp_path / 'other'}") == 0
    own, theirs = darkroom.open_run(run.spec.uri), darkroom.open_run(tmp_path / "other")
    first, [foreign] = next(iter(own.cells)), theirs.cells
    page = own.rate(cells=[first], others=[str(tmp_path / "other")], num_pairs=20, out=tmp_path / "page")
    assert page.place == str(tmp_path / "page" / "index.html")
    assert page.study.cell_ids == {first, foreign}
    found = own.rate(votes=[send(page.study, tmp_path, best=first)], others=[str(tmp_path / "other")])
    assert found.figures.keys() == {first, foreign}
    assert found.figures[first]["raters.win_rate"].value > 0.9
    assert "guidance_scale" in found.table
    assert own.figures[first]["raters.win_rate"].value > 0.9
    gap = darkroom.compare(own, theirs, a_cell=first, metrics=["raters.win_rate"])
    assert gap.worse == ["raters.win_rate"]
    with pytest.raises(DarkroomError, match="no vote on a pair"):
        darkroom.compare(own, theirs, a_cell=list(own.cells)[1], metrics=["raters.win_rate"])
    for place in (tmp_path, tmp_path / "other"):
        with pytest.raises(DarkroomError, match=f"out={place}: the run .* lies in it, and says what raters must"):
            own.rate(cells=[first], others=[str(tmp_path / "other")], num_pairs=20, out=place)
    with pytest.raises(DarkroomError, match="is in another run too"):
        own.rate(others=[run.spec.uri])
    with pytest.raises(DarkroomError, match="one cell is there, and a pair needs two"):
        theirs.rate()


@pytest.mark.slow
def test_votes_on_images_that_are_no_longer_what_was_shown_do_not_count(run: Store, tmp_path: Path) -> None:
    """As after a retry, or in a run that was made anew in its place: another cell's shards are gone here."""
    study = written(run)
    first = darkroom.rate(run.spec.uri, votes=[send(study, tmp_path)])
    gone = max(study.cell_ids)
    run.delete([info.key for info in run.list(f"metadata/{gone}/")])
    told: list[object] = []
    found = darkroom.rate(run.spec.uri, votes=[], progress=told.append)
    assert (len(first.judgements), len(found.judgements)) == (60, 20)
    assert [str(event) for event in told if "40 votes are on images that are no longer there" in str(event)]
    assert math.isnan(found.figures[gone]["raters.win_rate"].value)


@pytest.mark.slow
def test_a_run_on_s3_keeps_its_votes_there(base: Store, s3_endpoint: str, tmp_path: Path) -> None:
    away = open_store(parse_spec("s3://bucket/rated", s3_endpoint))
    for info in base.list():
        away.put(info.key, base.get(info.key))
    study = written(away, "num_pairs=12", "num_repeats=0")
    assert away.get(f"ratings/{study.study_id}/page/index.html")
    assert run_here("rate", *named(away), f"votes=[{send(study, tmp_path)}]") == 0
    [stored] = stored_votes(away, study.study_id)
    assert len(stored.votes) == 12
