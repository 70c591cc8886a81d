"""What every benchmark is told: where to work, how much, how often, with what."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from darkroom.bench.figure import Timing


@dataclass(frozen=True)
class Setting:
    """One `darkroom bench`."""

    folder: Path  # scratch, emptied by whoever made it
    scale: float  # of every size
    num_repeats: int
    device: str  # cpu, cuda or mps
    num_workers: int  # of what runs on Ray
    darkroom: tuple[str, ...]  # the command line's first words
    say: Callable[[str], None]

    def sized(self, count: int, least: int = 1) -> int:
        return max(least, round(count * self.scale))


def alternated(setting: Setting, variants: Mapping[str, Callable[[Path], Timing]]) -> dict[str, list[Timing]]:
    """Every variant once a repeat, each time in a new folder, and every second repeat backwards: what drifts meets all.

    `variants` are called with their folder, which does not exist yet.
    """
    timings: dict[str, list[Timing]] = {name: [] for name in variants}
    for repeat in range(setting.num_repeats):
        for name in list(variants)[:: -1 if repeat % 2 else 1]:
            timing = variants[name](setting.folder / f"{name.replace(' ', '-')}-{repeat}")
            timings[name].append(timing)
            setting.say(f"  {name}: {timing.count:g} in {timing.seconds:.2f} s ({timing.rate:.3g}/s)")
    return timings
