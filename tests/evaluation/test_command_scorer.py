"""Scorers in a process of their own: real ones, of Python without a package."""

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from darkroom.domain.errors import DarkroomError, EndsRun, WrongModel
from darkroom.engine.extraction import Picture, extract
from darkroom.evaluation import command_scorer
from darkroom.evaluation.command_scorer import CommandScorer, _batches, placed
from darkroom.evaluation.extractor import ExtractorSpec, end_scorers
from darkroom.evaluation.opening import inspect_extractor, load_extractor, pin_extractor
from darkroom.evaluation.scorer_process import BrokenScorer, LineProcess, ScorerDied
from darkroom.runs.features import Score

SCRIPT = Path(__file__).with_name("scorer_script.py")


def spec(*words: str, script: Path = SCRIPT, **keys) -> ExtractorSpec:
    command = " ".join([sys.executable, "-S", str(script), *words])
    return ExtractorSpec("mine", command=command, **keys)


@pytest.fixture
def scorer():
    """Makes scorers, and ends them."""
    made: list[CommandScorer] = []

    def make(*words: str, **keys) -> CommandScorer:
        made.append(load_extractor(spec(*words, **keys)))
        return made[-1]

    yield make
    end_scorers(made)


def pictures(*prompts: str, told: str | None = None, size: tuple[int, int] = (6, 8)) -> list[Picture]:
    pixels = np.zeros((*size, 3), np.uint8)
    row = {"prompt_id": "p", "sample_index": 0, "columns": {"told": told}}
    return [Picture(f"i{number}", prompt, pixels, "d", row) for number, prompt in enumerate(prompts)]


@pytest.mark.slow
def test_a_command_scores_pictures_with_the_columns_of_their_prompts(scorer) -> None:
    mine = scorer(lower_is_better=("width",), batch_size=2)
    assert mine.info.scores == (Score("width", False), Score("height", False), Score("told", True))
    assert mine.info.columns == ("told",)
    found = extract(mine, [*pictures("a", "b", "unscored", told="four"), *pictures("d")])
    assert found.errors == ("", "", "cannot be seen", "")
    np.testing.assert_array_equal(found.images.features, [[8, 6, 4], [8, 6, 4], [np.nan] * 3, [8, 6, np.nan]])
    assert found.sha256s == ("d",) * 4


@pytest.mark.slow
def test_a_picture_that_it_dies_of_costs_its_own_scores_alone(scorer) -> None:
    found = extract(scorer(), pictures("a", "b die", "c"))
    words = "ScorerDied: extractor mine: it ended with exit status 3; it said last: out of paint"
    assert found.errors == ("", words, "")
    assert found.images.features[:, 0].tolist() == [8, pytest.approx(np.nan, nan_ok=True), 8]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prompts", "kind", "words"),
    [
        (["die"] * 9, BrokenScorer, r"exit status 3; .* \(for the 5th time in a row\)"),
        (["broken"], BrokenScorer, "its answer, entry 0, has width; give width, height, told, null where"),
    ],
)
def test_one_that_dies_of_all_or_answers_nonsense_ends_the_job(scorer, prompts, kind, words) -> None:
    with pytest.raises(kind, match=words) as caught:
        extract(scorer(), pictures(*prompts))
    assert isinstance(caught.value, EndsRun)
    assert "\n" not in str(caught.value)


def test_a_batch_is_of_as_many_images_as_are_asked_for_and_fit_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.evaluation.command_scorer._MOST_CHARS", 10)
    images = [{"png": "x" * chars} for chars in (1, 1, 1, 8, 3, 20, 2)]
    assert [[len(image["png"]) for image in batch] for batch in _batches(images, 2)] == [[1, 1], [1, 8], [3], [20], [2]]
    assert list(_batches([], 2)) == []


@pytest.mark.slow
def test_no_full_pipe_stops_either_side(scorer) -> None:
    """Two batches of a megabyte, answered by one that writes as much first, to both of its outputs."""
    noise = scorer("noise=1", batch_size=1, batch_timeout_s=30)
    pixels = np.random.default_rng(0).integers(0, 256, (600, 600, 3)).astype(np.uint8)
    found = extract(noise, [replace(picture, pixels=pixels) for picture in pictures("a", "b")])
    assert found.images.features[:, 0].tolist() == [600, 600]


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def gone(*pids: int) -> bool:
    deadline = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(alive, pids))


@pytest.mark.slow
def test_one_that_hangs_is_killed_with_its_children_and_started_again(scorer, tmp_path: Path) -> None:
    hanging = scorer(f"child={tmp_path}", batch_timeout_s=0.5)
    found = extract(hanging, pictures("a"))
    pids = list(map(int, (tmp_path / "pids").read_text().split()))
    assert all(map(alive, pids))
    found = extract(hanging, pictures("hang"))
    assert re.search(r"no answer within batch_timeout_s=0.5; it said nothing$", found.errors[0])
    assert gone(*pids)
    assert extract(hanging, pictures("b")).errors == ("",)


@pytest.mark.slow
def test_it_ends_with_its_job_also_while_it_is_at_work(scorer, tmp_path: Path) -> None:
    ending = scorer(f"child={tmp_path}")
    extract(ending, pictures("a"))
    pids = list(map(int, (tmp_path / "pids").read_text().split()))
    caught: list[BaseException] = []

    def score() -> None:
        try:
            extract(ending, pictures("hang"))
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=score)
    thread.start()
    time.sleep(0.3)
    ending.close()
    thread.join(5)
    assert isinstance(caught[0], EndsRun)
    assert gone(*pids)
    with pytest.raises(EndsRun):
        extract(ending, pictures("b"))


@pytest.mark.slow
def test_one_that_is_ended_while_it_starts_does_not_stay(scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    starting, launch, made = scorer(), command_scorer._launched, []

    def launched(spec: ExtractorSpec) -> LineProcess:
        made.append(launch(spec))
        starting.close()  # as an interrupt does, from another thread
        return made[0]

    monkeypatch.setattr(command_scorer, "_launched", launched)
    with pytest.raises(EndsRun):
        starting.start()
    assert gone(made[0]._process.pid)


@pytest.mark.slow
def test_it_dies_with_a_worker_that_is_killed_with_its_children(tmp_path: Path) -> None:
    """Of the worker, and not theirs: so Ray ends one."""
    code = (
        "import sys, time; from darkroom.evaluation.scorer_process import LineProcess; "
        "process = LineProcess('mine', sys.argv[1:], {}); process.ask(b'', 30, 'start'); print(1, flush=True); "
        "time.sleep(60)"
    )
    words = [sys.executable, "-S", str(SCRIPT), f"child={tmp_path}"]
    with subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE) as worker:
        assert worker.stdout.readline()
        pids = list(map(int, (tmp_path / "pids").read_text().split()))
        assert all(map(alive, pids))
        for process in [*psutil.Process(worker.pid).children(), worker]:
            process.kill()
    assert gone(*pids)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "kind", "words"),
    [
        ("/nowhere/python a.py", DarkroomError, "command: no program /nowhere/python on "),
        (f"{sys.executable} -S nowhere.py", ScorerDied, "it ended with exit status 2; it said last: .*nowhere.py"),
        (f"{sys.executable} -S {SCRIPT} start=hang", ScorerDied, "no answer within start_timeout_s=0.5; it said n"),
        ("echo {hello}", BrokenScorer, "it wrote '{hello}', which is no JSON, on its standard output; write what is"),
        ("""echo '{"version": 1}'""", BrokenScorer, 'what it said first has no "darkroom_scorer": 1; see infra/docs'),
        ("python 'unclosed", DarkroomError, "No closing quotation; close its quotes"),
        ("score --url https://me:secret@host/", DarkroomError, "command: credentials in an address end up in logs"),
    ],
)
def test_what_does_not_say_what_it_is_is_refused_at_the_start(command: str, kind: type, words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        inspect_extractor(ExtractorSpec("mine", command=command, start_timeout_s=0.5))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (ExtractorSpec("clip", command="x"), "extractor clip: command: its figures cannot be called so"),
        (ExtractorSpec("my.own", command="x"), "give it a name of its own, of letters, digits and _"),
        (ExtractorSpec("mine", "weights", command="x"), "source=weights means nothing to a command"),
        (ExtractorSpec("mine", command="x", batch_timeout_s=0), "batch_timeout_s=0; give seconds above 0"),
        (ExtractorSpec("pixels", columns=("a",)), "columns is of scorers with a command; leave it out"),
    ],
)
def test_keys_that_mean_nothing_are_refused(given: ExtractorSpec, words: str) -> None:
    with pytest.raises(DarkroomError, match=words):
        inspect_extractor(given)


@pytest.mark.slow
def test_its_id_follows_the_bytes_of_what_it_is_made_of(tmp_path: Path) -> None:
    there, weights = tmp_path / "there.py", tmp_path / "weights"
    shutil.copy(SCRIPT, there)
    weights.write_text("1")
    named = [f"weights={weights}"]
    first = inspect_extractor(spec(*named))
    assert inspect_extractor(spec(*named, script=there)) == first
    assert first.weights == "sizes 1"
    others = [
        inspect_extractor(spec(*named, "version=2")),
        inspect_extractor(spec(*named, files=(str(tmp_path),))),
        inspect_extractor(spec(*named, columns=("more",))),
    ]
    weights.write_text("2")
    others.append(inspect_extractor(spec(*named)))
    assert len({info.extractor_id for info in (first, *others)}) == 5
    with pytest.raises(DarkroomError, match="lower_is_better=cer: it has no such score; it has width, height, told"):
        inspect_extractor(spec(lower_is_better=("cer",)))
    with pytest.raises(DarkroomError, match="files: no /nowhere on "):
        inspect_extractor(spec(files=("/nowhere",)))


@pytest.mark.slow
@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_text(SCRIPT.read_text() + "\n")])
def test_a_machine_with_another_one_is_left_out(tmp_path: Path, change: Callable[[Path], object]) -> None:
    script = tmp_path / "mine.py"
    shutil.copy(SCRIPT, script)
    wanted = spec(script=script)
    pinned = load_extractor(replace(wanted, pin=pin_extractor(wanted, inspect_extractor(wanted))))
    change(script)
    with pytest.raises(WrongModel, match="extractor mine: "):
        pinned.start()  # as a worker does, which is then made elsewhere
    with pytest.raises(WrongModel, match="extractor mine: "):
        extract(pinned, pictures("a"))
    pinned.close()


def test_a_command_is_the_same_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("score.py", "model.pth", "bin/python"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    found = placed("bin/python score.py --weights=model.pth --name=model 'two words'")
    assert found == f"{tmp_path}/bin/python {tmp_path}/score.py --weights={tmp_path}/model.pth --name=model 'two words'"
    assert placed("docker run -i mine") == "docker run -i mine"


PROGRAM = """
import json, sys
print("warming up", flush=True)
print(json.dumps({"darkroom_scorer": 1, "name": "inline", "version": "1", "scores": {"good": "higher"}}), flush=True)
for line in sys.stdin:
    for image in json.loads(line)["images"]:
        twice = "twice" in image["prompt"]
        print("\\n".join([json.dumps({"scores": [{"error": "cut \\ud83d"}]})] * (1 + twice)), flush=True)
"""


@pytest.mark.slow
def test_a_program_in_the_command_itself_may_be_long_and_answers_once() -> None:
    """Its text is longer than any file's name; half a sign in an answer can be stored."""
    command = placed(shlex.join([sys.executable, "-S", "-c", PROGRAM, "~nobody/weights"]))
    inline = load_extractor(ExtractorSpec("mine", command=command, batch_size=1))
    assert extract(inline, pictures("a")).errors == ("cut ?",)
    extract(inline, pictures("twice"))
    time.sleep(0.2)
    with pytest.raises(BrokenScorer, match=r"it answered more than it was asked: \{'scores': "):
        extract(inline, pictures("a"))
    inline.close()
