"""The long measurement in small: what it makes is right, and planning keeps its word about memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from darkroom.rendering.renderer import paint
from darkroom.runs import manifest
from darkroom.runs.cells import read_cells
from darkroom.runs.encoding import decode
from darkroom.runs.images import with_bytes
from darkroom.runs.reading import recorded_request, records, sample
from darkroom.storage.store import open_store, parse_spec
from tests.jobs.helpers import ROOT
from tests.load import measuring
from tests.load.measuring import Load
from tests.load.watching import Watched

# In a process of its own, whose peak the system keeps.
_PLANNED = """
import sys
from pathlib import Path
from darkroom.prompts.opening import open_prompts
dataset = open_prompts(sys.argv[1])
scan = dataset.scan(1)
last = next(dataset.blocks(scan.num_rows - 1)).rows[-1].prompt_id
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(scan.num_repeats, last, int(peak.split()[1]) / 1000)
"""


@pytest.mark.slow
def test_a_load_of_the_painter_is_rendered_whole_and_resumed(tmp_path: Path) -> None:
    prompts = measuring.write_prompts(tmp_path / "prompts.parquet", 2000)
    load = Load(prompts, 2000, str(tmp_path / "run"), shard_size=250, num_workers=2)
    line = measuring.rendering(load)
    assert line.first_mb > 0
    assert line.last_mb > 0
    measuring.uncommit_last(load)
    store = open_store(parse_spec(load.uri))
    assert len(list(manifest.committed(store))) == 7
    measuring.resuming(load, "resumed")
    measuring.asking(load)
    assert sorted(record.row for record in records(store)) == list(range(2000))
    [info] = read_cells(store).values()
    for record, data in with_bytes(store, sample(store, 50, seed=0)):
        assert np.array_equal(decode(data), paint(recorded_request(record, info.cell)))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process's memory is in /proc")
def test_planning_takes_no_more_memory_for_more_rows(tmp_path: Path) -> None:
    few, many = (planned(tmp_path, num_rows) for num_rows in (200_000, 2_000_000))
    assert many - few < 100  # MB; a record in memory for each repeat would take twice as much


def planned(folder: Path, num_rows: int) -> float:
    """Peak memory, MB, of planning prompts of which nine in ten say what an earlier one says."""
    prompts = measuring.write_prompts(folder / f"{num_rows}.parquet", num_rows, num_rows // 10)
    command = [sys.executable, "-c", _PLANNED, str(prompts)]
    num_repeats, last, peak = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert int(num_repeats) == num_rows * 9 // 10
    assert len(last) == 32
    return float(peak)


def test_memory_of_a_time_between_two_looks_is_that_of_the_look_before() -> None:
    seen = Watched(0, 1.0, [], [(0.0, 10.0), (0.2, 30.0), (0.4, 20.0)])
    assert seen.peak_between(0.25, 0.3) == 30.0
    assert seen.peak_between(0.3, 0.5) == 20.0
    assert seen.peak_between(0.0, 0.5) == 30.0
