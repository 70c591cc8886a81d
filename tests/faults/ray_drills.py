"""Drills on Ray: workers, nodes and the head are killed under a job whose uploads are slow, and a polite kill.

They run in S3, as a cluster's jobs do; the proxy in front of it delays every answer until the last kill, so that each
finds work under way.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil

from darkroom.runs import manifest
from tests.faults.account import Tally, Whole, account
from tests.faults.drills import Place
from tests.processes import Job, ended, wait_for
from tests.servers import Fault, FaultyProxy

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

SLOW = Fault(delay_s=0.3)
GRACE_S = 30.0  # what a cloud gives before it kills
HEAD_TIMEOUT = "RAY_gcs_rpc_server_reconnect_timeout_s"  # how long Ray waits for its head to come back: 60 by itself


@contextmanager
def cluster(num_nodes: int) -> Iterator["Cluster"]:
    """Several nodes on this machine, each with room for one worker; the head has none."""
    from ray.cluster_utils import Cluster

    os.environ[HEAD_TIMEOUT] = "5"
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(num_nodes):
            nodes.add_node(num_cpus=1)
        yield nodes
    finally:
        nodes.shutdown()
        del os.environ[HEAD_TIMEOUT]


def on_ray(here: Place, *more: str) -> Place:
    own = [word for word in here.arguments if word != "engine=local"]
    return replace(here, arguments=(*own, "engine=ray", "engine.num_workers=2", "engine.max_attempts=20", *more))


def workers_killed(expected: Whole, here: Place, proxy: FaultyProxy, times: int = 4) -> Tally:
    """One worker after the other, whatever it is at, each when the job has got a little further."""
    proxy.storm([SLOW], 1.0)
    job = on_ray(here).start()
    killed = 0
    while killed < times and further(job, here, num_committed(here)):
        for worker in workers_of(job)[:1]:
            worker.kill()
            killed += 1
    proxy.storm((), 0.0)
    return account(here.store, expected, killed, ended(job, 0))


def worker_stalled(expected: Whole, here: Place, proxy: FaultyProxy) -> Tally:
    """A worker is stopped in the middle of its work, replaced after a while, and goes on when others have done it."""
    proxy.storm([SLOW], 1.0)
    job = on_ray(here).start()
    further(job, here, 0)
    stalled = workers_of(job)[0]
    stalled.suspend()
    wait_for(lambda: job.returncode is not None or "has not answered" in job.said, 300)
    if is_alive(stalled):
        stalled.resume()
    proxy.storm((), 0.0)
    said = ended(job, 0)
    assert "1 worker(s) were lost and replaced" in said
    return account(here.store, expected, 1, said)


def driver_killed(expected: Whole, here: Place, proxy: FaultyProxy) -> Tally:
    """SIGKILL of a job whose Ray, and workers, outlive it for a moment; the same command again at once."""
    proxy.storm([SLOW], 1.0)
    job = on_ray(here).start()
    further(job, here, 0)
    job.send_signal(signal.SIGKILL)
    ended(job, -signal.SIGKILL)
    proxy.storm((), 0.0)
    return account(here.store, expected, 1, here.finish())


def nodes_killed(expected: Whole, here: Place, proxy: FaultyProxy, nodes: "Cluster") -> Tally:
    """Both nodes that hold workers, one after the other; a new one comes after each."""
    proxy.storm([SLOW], 1.0)
    job = on_ray(here, f"engine.address={nodes.address}").start()
    old = sorted(nodes.worker_nodes, key=lambda node: node.node_id)[:2]
    for number, node in enumerate(old):
        further(job, here, number)
        nodes.remove_node(node, allow_graceful=False)
        nodes.add_node(num_cpus=1)
    proxy.storm((), 0.0)
    return account(here.store, expected, len(old), ended(job, 0))


def node_preempted(expected: Whole, here: Place, proxy: FaultyProxy, nodes: "Cluster") -> Tally:
    """The cloud gives notice to a node that holds a worker, and takes it a little later; another one comes."""
    proxy.storm([SLOW], 1.0)
    job = on_ray(here, f"engine.address={nodes.address}").start()
    further(job, here, 0)
    leaving = min(nodes.worker_nodes, key=lambda node: node.node_id)
    drain(nodes.address, leaving.node_id)
    nodes.add_node(num_cpus=1)
    further(job, here, num_committed(here))
    nodes.remove_node(leaving, allow_graceful=False)
    proxy.storm((), 0.0)
    return account(here.store, expected, 1, ended(job, 0))


def drain(address: str, node_id: str) -> None:
    """What a cloud's notice of preemption becomes: the node stays for a minute, and takes nothing new."""
    from ray._raylet import GcsClient
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    deadline_ms = int((time.time() + 60) * 1000)
    accepted, why = GcsClient(address=address).drain_node(node_id, reason, "preemption", deadline_ms)
    assert accepted, why


def head_killed(expected: Whole, here: Place, proxy: FaultyProxy, nodes: "Cluster") -> Tally:
    """The job cannot go on without it, and ends; the same run goes on elsewhere while orphans may still write."""
    proxy.storm([SLOW], 1.0)
    job = on_ray(here, f"engine.address={nodes.address}").start()
    further(job, here, 0)
    nodes.remove_node(nodes.head_node, allow_graceful=False)
    said = ended(job, 1)
    proxy.storm((), 0.0)
    return account(here.store, expected, 1, said + here.finish())


def terminated(expected: Whole, here: Place, proxy: FaultyProxy) -> Tally:
    """SIGTERM; the process is gone, and its Ray with it, well within the grace."""
    proxy.storm([SLOW], 1.0)
    job = on_ray(here).start()
    further(job, here, 0)
    own = psutil.Process(job.pid).children(recursive=True)
    job.send_signal(signal.SIGTERM)
    started = time.monotonic()
    said = ended(job, 130)
    wait_for(lambda: not any(map(is_alive, own)))
    assert time.monotonic() - started < GRACE_S
    proxy.storm((), 0.0)
    return account(here.store, expected, 1, said + here.finish())


def further(job: Job, here: Place, before: int) -> bool:
    """Wait for more committed shards than before; whether the job still runs then."""
    wait_for(lambda: job.returncode is not None or num_committed(here) > before, 240)
    return job.returncode is None


def workers_of(job: Job) -> list[psutil.Process]:
    """Processes of a job's actors, by their names."""
    below = psutil.Process(job.pid).children(recursive=True)
    return [child for child in below if is_alive(child) and "ray::WorkerActor" in " ".join(child.cmdline())]


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def num_committed(here: Place) -> int:
    return sum(1 for _ in manifest.committed(here.store))
