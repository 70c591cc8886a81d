"""The plain script that Darkroom is measured against makes the same pictures."""

from dataclasses import replace
from pathlib import Path

import pytest

from darkroom.bench.darkroom_run import local_dispatcher, render_job
from darkroom.bench.script import Script, largest_difference
from darkroom.bench.work import demo_work
from tests.bench.painting import setting


@pytest.mark.slow
def test_a_plain_loop_draws_what_darkroom_draws_up_to_rounding(tmp_path: Path) -> None:
    work = replace(demo_work(setting(tmp_path), 3), batch_size=2)
    render_job(work, tmp_path / "run", local_dispatcher)
    timing = Script(work).timing(2, 3, tmp_path / "script")
    assert timing.count == 3
    assert largest_difference(work, tmp_path / "run", tmp_path / "script") <= 1
