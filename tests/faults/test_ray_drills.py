"""Each drill on Ray once: real processes, several nodes of one machine, a real S3 server behind a slow proxy.

They take half a minute each; what they show is tested in `tests/engine/test_ray_dispatcher_kills.py` (workers in every
phase) and `tests/jobs/test_processes.py` (signals, and a killed run on Ray and S3) too, in less.
"""

import pytest

from tests.faults import drills, ray_drills
from tests.faults.account import Whole
from tests.faults.conftest import ZERO, counts
from tests.servers import FaultyProxy

pytestmark = [pytest.mark.slow, pytest.mark.drill]


def test_workers_killed_one_after_the_other(expected: Whole, in_s3: tuple[drills.Place, FaultyProxy]) -> None:
    tally = ray_drills.workers_killed(expected, *in_s3, times=2)
    assert tally.injected >= 2
    assert counts(tally) == ZERO


def test_nodes_killed_one_after_the_other(expected: Whole, in_s3: tuple[drills.Place, FaultyProxy]) -> None:
    with ray_drills.cluster(2) as nodes:
        tally = ray_drills.nodes_killed(expected, *in_s3, nodes)
    assert "worker(s) were lost and replaced" in tally.said
    assert counts(tally) == ZERO


def test_a_node_that_the_cloud_takes_back(expected: Whole, in_s3: tuple[drills.Place, FaultyProxy]) -> None:
    with ray_drills.cluster(2) as nodes:
        assert counts(ray_drills.node_preempted(expected, *in_s3, nodes)) == ZERO


def test_a_head_that_is_killed(expected: Whole, in_s3: tuple[drills.Place, FaultyProxy]) -> None:
    with ray_drills.cluster(2) as nodes:
        tally = ray_drills.head_killed(expected, *in_s3, nodes)
    assert "shards are committed already" in tally.said
    assert counts(tally) == ZERO


def test_a_polite_kill_with_thirty_seconds_grace(expected: Whole, in_s3: tuple[drills.Place, FaultyProxy]) -> None:
    tally = ray_drills.terminated(expected, *in_s3)
    assert "shards are committed already" in tally.said
    assert counts(tally) == ZERO
