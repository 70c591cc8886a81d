"""Workers that wait for each other are given away together."""

import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from darkroom.bench.gate import Together
from darkroom.bench.sleeper import Idler


def _met_at(gate: Together) -> float:
    gate()
    return time.time()


@pytest.mark.slow
def test_nobody_begins_before_the_last_one_is_loaded(tmp_path: Path) -> None:
    gate = Together(Idler, tmp_path, 2)
    with get_context("spawn").Pool(2) as pool, ThreadPoolExecutor(1) as waiting:
        first = waiting.submit(pool.apply, _met_at, (gate,))
        while not list(tmp_path.iterdir()):
            time.sleep(0.01)
        assert not first.done()
        second = pool.apply(_met_at, (gate,))
        assert abs(first.result() - second) < 5
    assert len(list(tmp_path.iterdir())) == 2


def test_one_worker_waits_for_nobody(tmp_path: Path) -> None:
    assert isinstance(Together(Idler, tmp_path, 1)(), Idler)
