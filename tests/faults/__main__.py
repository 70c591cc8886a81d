"""The long drills: every one several times, and one table. `make drill`, or `python -m tests.faults [rounds [part]]`.

A part of their names chooses some. Exit code 1 where an image is lost, there twice or different.
"""

import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import tests.conftest  # noqa: F401 - credentials for the server
from tests.faults import drills, mixing_drills, ray_drills
from tests.faults.account import Tally, Whole, whole
from tests.servers import make_bucket, moto_server

ROUNDS = 10
COLUMNS = ("injected", "expected", "found", "lost", "doubled", "differing")
ZOMBIES = (("before", "images/", 3), ("after", "images/", 5), ("before", "metadata/", 1), ("before", "metadata/", 4))
THROTTLED_S = 60.0


@dataclass(frozen=True)
class Ground:
    """What a round has to itself."""

    expected: Whole
    folder: Path
    endpoint_url: str
    number: int  # of the round


def driver(ground: Ground) -> Tally:
    return drills.driver_killed(ground.expected, drills.place(ground.folder))


def copying(ground: Ground) -> Tally:
    return drills.copying_killed(ground.expected, drills.place(ground.folder))


def two_drivers(ground: Ground) -> Tally:
    return drills.two_drivers(ground.expected, drills.place(ground.folder))


def zombie(ground: Ground) -> Tally:
    return drills.zombie(ground.expected, drills.place(ground.folder), *ZOMBIES[ground.number % len(ZOMBIES)])


def storm(rate: float) -> Callable[[Ground], Tally]:
    def drill(ground: Ground) -> Tally:
        with drills.s3_place(ground.folder, ground.endpoint_url) as (here, proxy):
            return drills.s3_storm(ground.expected, here, proxy, rate, ground.number)

    return drill


def throttled(ground: Ground) -> Tally:
    with drills.s3_place(ground.folder, ground.endpoint_url) as (here, proxy):
        return drills.s3_throttled(ground.expected, here, proxy, THROTTLED_S)


def gone(fault: str) -> Callable[[Ground], Tally]:
    def drill(ground: Ground) -> Tally:
        with drills.s3_place(ground.folder, ground.endpoint_url) as (here, proxy):
            return drills.s3_gone(ground.expected, here, proxy, fault)

    return drill


def in_s3(drill: Callable[..., Tally], num_nodes: int = 0) -> Callable[[Ground], Tally]:
    """On Ray: this machine's own, or one of several nodes."""

    def on_ray(ground: Ground) -> Tally:
        with drills.s3_place(ground.folder, ground.endpoint_url) as (here, proxy):
            if not num_nodes:
                return drill(ground.expected, here, proxy)
            with ray_drills.cluster(num_nodes) as nodes:
                return drill(ground.expected, here, proxy, nodes)

    return on_ray


def other_pixels_left(ground: Ground) -> Tally:
    return drills.other_pixels_left(ground.expected, drills.place(ground.folder))


def images_spoiled(ground: Ground) -> Tally:
    return drills.images_spoiled(ground.expected, drills.place(ground.folder))


def two_commands(ground: Ground) -> Tally:
    return mixing_drills.two_commands(ground.expected, ground.folder)


def run_json_lost(ground: Ground) -> Tally:
    return mixing_drills.run_json_lost(ground.expected, drills.place(ground.folder))


def gc_beside_retry(ground: Ground) -> Tally:
    return mixing_drills.gc_beside_retry(ground.expected, drills.place(ground.folder))


def weights_replaced(ground: Ground) -> Tally:
    return mixing_drills.weights_replaced(ground.folder)


def bits_flipped(ground: Ground) -> Tally:
    return drills.bits_flipped(ground.expected, drills.place(ground.folder))


def disk_full(ground: Ground) -> Tally:
    with drills.small_disk(ground.folder / "disk") as disk:
        return drills.disk_full(ground.expected, drills.place(ground.folder, None, str(disk / "run")), disk)


DRILLS: dict[str, Callable[[Ground], Tally]] = {
    "SIGKILL of the driver": driver,
    "SIGKILL of workers": in_s3(ray_drills.workers_killed),
    "SIGKILL of a driver on Ray": in_s3(ray_drills.driver_killed),
    "SIGKILL of Ray nodes": in_s3(ray_drills.nodes_killed, 2),
    "SIGKILL of Ray's head": in_s3(ray_drills.head_killed, 2),
    "a preempted node": in_s3(ray_drills.node_preempted, 2),
    "SIGTERM, 30 s to go": in_s3(ray_drills.terminated),
    "SIGKILL while manifests are copied": copying,
    "two drivers at once": two_drivers,
    "a zombie that wakes up": zombie,
    "a worker that stalls": in_s3(ray_drills.worker_stalled),
    "S3 that fails at 5 % of requests": storm(0.05),
    "S3 that fails at 20 % of requests": storm(0.2),
    "S3 that throttles all for a minute": throttled,
    **{fault: gone(fault) for fault in drills.GONE},
    "a disk that is full": disk_full,
    "a flipped bit in a stored image": bits_flipped,
    "images spoiled before a resume": images_spoiled,
    "a killed start that made other pixels": other_pixels_left,
    "two different commands at once": two_commands,
    "run.json lost, another shard size": run_json_lost,
    "gc beside a retry": gc_beside_retry,
    "a model's weights replaced": weights_replaced,
}


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    part = sys.argv[2] if len(sys.argv) > 2 else ""
    with tempfile.TemporaryDirectory() as name, moto_server() as endpoint:
        folder = Path(name)
        make_bucket(endpoint, "bucket")
        here = drills.place(folder / "whole")
        here.finish()
        expected = whole(here.store)
        chosen = [fault for fault in DRILLS if part in fault]
        width = max(map(len, chosen))
        print(" | ".join(["fault".ljust(width), *COLUMNS]), flush=True)
        verdicts = [shown(fault, width, list(repeated(fault, rounds, expected, folder, endpoint))) for fault in chosen]
    return 0 if all(verdicts) else 1


def shown(fault: str, width: int, tallies: list[Tally | None]) -> bool:
    """Print a fault's line; whether all of its rounds came to their end, and to nothing lost."""
    ended = [tally for tally in tallies if tally]
    cells = [str(sum(getattr(tally, name) for tally in ended)).rjust(len(name)) for name in COLUMNS]
    broken = f" | {len(tallies) - len(ended)} of {len(tallies)} rounds failed" if len(ended) < len(tallies) else ""
    print(" | ".join([fault.ljust(width), *cells]) + broken, flush=True)
    return not broken and all(tally.is_clean for tally in ended)


def repeated(fault: str, rounds: int, expected: Whole, folder: Path, endpoint: str) -> Iterator[Tally | None]:
    """None for a round that itself failed: a long drill goes on, and says so at the end."""
    for number in range(rounds):
        own = folder / f"{list(DRILLS).index(fault)}-{number}"
        try:
            tally = DRILLS[fault](Ground(expected, own, endpoint, number))
        except Exception:
            traceback.print_exc()
            yield None
            continue
        said = ", ".join(f"{name} {getattr(tally, name)}" for name in COLUMNS)
        print(f"{fault}: round {number + 1} of {rounds}: {said}", file=sys.stderr, flush=True)
        yield tally


if __name__ == "__main__":
    sys.exit(main())
