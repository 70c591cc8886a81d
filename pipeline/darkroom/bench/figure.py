"""What a benchmark is given, and what it finds: the setting, ratios of repeats, their table and JSON; all by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from statistics import median

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.tables import Table, text_table


@dataclass(frozen=True)
class Timing:
    """So many things in so many seconds."""

    count: float
    seconds: float

    @property
    def rate(self) -> float:
        """Things a second."""
        return self.count / self.seconds


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


Timings = Mapping[str, Sequence[Timing]]  # variant -> one a repeat


@dataclass(frozen=True)
class Reach:
    """What a figure should be."""

    bound: float
    at_least: bool = True  # else at most

    def holds(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.bound:g}"


@dataclass(frozen=True)
class Figure:
    """What was measured, how, and how it came out."""

    name: str
    what: str  # in words: which time over which
    unit: str
    values: Sequence[float] = ()  # one a repeat; none where it was skipped
    reach: Reach | None = None
    timings: Timings = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    skipped: str | None = None  # why

    @property
    def value(self) -> float | None:
        """The median of the repeats."""
        return median(self.values) if self.values else None

    @property
    def spread(self) -> tuple[float, float] | None:
        """The lowest and the highest of the repeats."""
        return (min(self.values), max(self.values)) if self.values else None

    @property
    def reached(self) -> bool | None:
        """None where there is nothing to reach, or nothing was measured."""
        return None if self.value is None or self.reach is None else self.reach.holds(self.value)


def ratios(numerator: Sequence[Timing], denominator: Sequence[Timing]) -> list[float]:
    """Of the rates, repeat by repeat: what slows a machine for a while slows both of a pair."""
    return [above.rate / below.rate for above, below in zip(numerator, denominator, strict=True)]


_HEADINGS = ("figure", "median", "lowest to highest", "reach", "reached", "of what")


def as_table(figures: Sequence[Figure]) -> str:
    """One line a figure."""
    return text_table(Table(_HEADINGS, [_row(figure) for figure in figures], num_left=len(_HEADINGS)))


def as_json(figures: Sequence[Figure], machine: dict[str, object], setting: dict[str, object]) -> dict[str, object]:
    """What was measured where, with each repeat's raw seconds."""
    return {"machine": machine, "setting": setting, "figures": [_value(figure) for figure in figures]}


def _row(figure: Figure) -> tuple[str, ...]:
    if figure.value is None or figure.spread is None:
        return figure.name, "-", "-", _reach(figure), "skipped", figure.skipped or ""
    unit = f" {figure.unit}" if figure.unit else ""
    low, high = figure.spread
    reached = {True: "yes", False: "NO", None: "-"}[figure.reached]
    return figure.name, f"{figure.value:.3g}{unit}", f"{low:.3g} to {high:.3g}", _reach(figure), reached, figure.what


def _reach(figure: Figure) -> str:
    return str(figure.reach) if figure.reach else "-"


def _value(figure: Figure) -> dict[str, object]:
    derived = {"value": figure.value, "spread": figure.spread, "reached": figure.reached}
    return {**asdict(figure), **derived, "reach": _reach(figure)}


# Name -> module and function, in the order of a full run.
BENCHMARKS = {
    "pipeline_efficiency_local": ("efficiency", "local"),
    "pipeline_efficiency_ray": ("efficiency", "on_ray"),
    "diffusers_script": ("script", "diffusers_script"),
    "ray_data": ("ray_data", "ray_data"),
    "dit_script": ("script", "dit_script"),
    "dit_ray_data": ("ray_data", "dit_ray_data"),
    "invariance_tax": ("efficiency", "invariance_tax"),
    "sweep_sharing": ("commands", "sweep_sharing"),
    "inline_evaluation": ("commands", "inline_evaluation"),
    "resume": ("commands", "resume"),
    "scale_out": ("scale_out", "scale_out"),
    "gpu_sd15": ("gpu", "gpu_sd15"),
    "gpu_sdxl": ("gpu", "gpu_sdxl"),
}


def chosen(names: Sequence[str] | None) -> dict[str, Callable[[Setting], list[Figure]]]:
    """All benchmarks, or these. Raises DarkroomError for a name that none has."""
    for unknown in [name for name in names or () if name not in BENCHMARKS]:
        raise DarkroomError(f"figures: {unknown} is not one of them; they are {', '.join(BENCHMARKS)}")
    return {name: _found(*BENCHMARKS[name]) for name in (BENCHMARKS if names is None else names)}


def _found(module: str, function: str) -> Callable[[Setting], list[Figure]]:
    return lambda setting: getattr(import_module(f"darkroom.bench.{module}"), function)(setting)
