"""The long drills: every one several times, and one table. `make drill`, or `python -m tests.faults [rounds [part]]`.

A part of their names chooses some. Exit code 1 where an image is lost, there twice or different.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import tests.conftest  # noqa: F401 - credentials for the server
from tests.faults import drills, ray_drills
from tests.faults.account import Tally, Whole, whole
from tests.servers import make_bucket, moto_server

ROUNDS = 10
COLUMNS = ("fault", "injected", "expected", "found", "lost", "doubled", "differing")
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


def bits_flipped(ground: Ground) -> Tally:
    return drills.bits_flipped(ground.expected, drills.place(ground.folder))


def disk_full(ground: Ground) -> Tally:
    with drills.small_disk(ground.folder / "disk") as disk:
        return drills.disk_full(ground.expected, drills.place(ground.folder, None, str(disk / "run")), disk)


DRILLS: dict[str, Callable[[Ground], Tally]] = {
    "SIGKILL of the driver": driver,
    "SIGKILL of workers": in_s3(ray_drills.workers_killed),
    "SIGKILL of Ray nodes": in_s3(ray_drills.nodes_killed, 2),
    "SIGKILL of Ray's head": in_s3(ray_drills.head_killed, 2),
    "a preempted node": in_s3(ray_drills.node_preempted, 2),
    "SIGTERM, 30 s to go": in_s3(ray_drills.terminated),
    "two drivers at once": two_drivers,
    "a zombie that wakes up": zombie,
    "S3 that fails at 5 % of requests": storm(0.05),
    "S3 that fails at 20 % of requests": storm(0.2),
    "S3 that throttles all for a minute": throttled,
    **{fault: gone(fault) for fault in drills.GONE},
    "a disk that is full": disk_full,
    "a flipped bit in a stored image": bits_flipped,
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
        tallies = {fault: total(list(repeated(fault, rounds, expected, folder, endpoint))) for fault in chosen}
    print_table(tallies)
    return 0 if all(tally.is_clean for tally in tallies.values()) else 1


def repeated(fault: str, rounds: int, expected: Whole, folder: Path, endpoint: str) -> Iterator[Tally]:
    for number in range(rounds):
        own = folder / f"{list(DRILLS).index(fault)}-{number}"
        tally = DRILLS[fault](Ground(expected, own, endpoint, number))
        said = ", ".join(f"{name} {getattr(tally, name)}" for name in COLUMNS[1:])
        print(f"{fault}: round {number + 1} of {rounds}: {said}", file=sys.stderr, flush=True)
        yield tally


def total(tallies: list[Tally]) -> Tally:
    return Tally(**{name: sum(getattr(tally, name) for tally in tallies) for name in COLUMNS[1:]})


def print_table(tallies: dict[str, Tally]) -> None:
    width = max(map(len, tallies))
    print(" | ".join([COLUMNS[0].ljust(width), *COLUMNS[1:]]))
    for fault, tally in tallies.items():
        cells = [str(getattr(tally, name)).rjust(len(name)) for name in COLUMNS[1:]]
        print(" | ".join([fault.ljust(width), *cells]))


if __name__ == "__main__":
    sys.exit(main())
