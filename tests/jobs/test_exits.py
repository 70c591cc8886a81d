"""Exit codes, and jobs that are called from Python."""

import signal
import threading
from pathlib import Path

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.jobs.cli import JOBS, run_job
from darkroom.jobs.console import ExitCode, most_urgent
from darkroom.jobs.help import overview
from tests.jobs.helpers import PAINT


@pytest.fixture
def bad_rows(tmp_path: Path) -> list[str]:
    """Seven prompts that can be rendered and one that cannot."""
    path = tmp_path / "prompts.csv"
    path.write_text("prompt,width\n" + "".join(f"prompt {number},16\n" for number in range(7)) + "odd,13\n")
    return [
        *PAINT,
        "prompts=file",
        f"prompts.uri={path}",
        "prompts.on_invalid=record",
        f"output.uri={tmp_path / 'run'}",
    ]


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        ((), ExitCode.OK),
        ((ExitCode.OK, ExitCode.CHECK_FAILED), ExitCode.CHECK_FAILED),
        ((ExitCode.ROWS_FAILED, ExitCode.CHECK_FAILED), ExitCode.ROWS_FAILED),
        ((ExitCode.ROWS_FAILED, ExitCode.UNFINISHED, ExitCode.OK), ExitCode.UNFINISHED),
        ((ExitCode.INTERRUPTED, ExitCode.UNFINISHED), ExitCode.INTERRUPTED),
    ],
)
def test_of_several_codes_the_most_urgent_is_said(codes: tuple[ExitCode, ...], said: ExitCode) -> None:
    assert most_urgent(*codes) is said


def test_every_code_is_in_the_help() -> None:
    said = " ".join(overview(JOBS).split())
    assert [code for code in ExitCode if f" {code.value} {code.meaning}" not in said] == []


@pytest.mark.slow
@pytest.mark.parametrize("halving", [False, True])
def test_a_sweep_with_failed_rows_says_so_at_every_start(bad_rows: list[str], halving: bool) -> None:
    words = [*bad_rows, "grid.axes.guidance_scale=[1,2]", "engine.shard_size=1", "evaluate=inline"]
    words += ["evaluation.extractors=[pixels]", "evaluation.metrics=[pixels.vendi]"]
    words += ["halving.figure=pixels.vendi", "halving.num_images=4"] if halving else []
    assert run_job("sweep", words) is ExitCode.ROWS_FAILED
    assert run_job("sweep", words) is ExitCode.ROWS_FAILED


@pytest.mark.slow
def test_failed_rows_are_more_urgent_than_a_failed_check(bad_rows: list[str]) -> None:
    words = [*bad_rows, "evaluate=inline", "evaluation.extractors=[pixels]", "evaluation.metrics=[pixels.vendi]"]
    words.append("evaluation.expect=[{figure: pixels.vendi, lowest: 1000}]")
    assert run_job("generate", words) is ExitCode.ROWS_FAILED


@pytest.mark.slow
def test_a_plan_ends_well_where_rows_are_failed_and_status_says_how_a_run_is(
    bad_rows: list[str], tmp_path: Path
) -> None:
    assert run_job("plan", bad_rows) is ExitCode.OK
    run_job("generate", bad_rows)
    assert run_job("status", [f"run={tmp_path / 'run'}"]) is ExitCode.ROWS_FAILED


@pytest.mark.slow
def test_python_gets_an_exception_and_its_signals_back(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(DarkroomError, match="nowhere does not exist"):
        run_job("status", [f"run={tmp_path / 'nowhere'}"])
    with pytest.raises(DarkroomError, match="did you mean status"):
        run_job("statis", [])
    assert run_job("generate", [*PAINT, f"output.uri={tmp_path / 'run'}"]) is ExitCode.OK
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.slow
def test_a_thread_may_run_a_job(tmp_path: Path) -> None:
    codes: list[ExitCode] = []
    words = [[*PAINT, f"output.uri={tmp_path / name}"] for name in ("a", "b")]
    threads = [threading.Thread(target=lambda given=given: codes.append(run_job("generate", given))) for given in words]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [ExitCode.OK] * 2
