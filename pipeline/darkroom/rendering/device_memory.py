"""The memory of this machine's device: how much there is, and how much is taken at most while something runs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # of the resident memory of this process: see proc(5)


@dataclass
class Peak:
    """What is taken at most, in bytes; None where it cannot be told."""

    num_bytes: int | None = None


def total_bytes(device: str) -> int | None:
    """Of the device; of the machine, as far as a container may use it, where models compute there."""
    import torch

    if device == "cuda":
        is_here = torch.cuda.is_available()
        return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory) if is_here else None
    if device == "mps":
        return int(torch.mps.recommended_max_memory())
    limits = filter(None, map(_number, _limit_files()))
    return min((os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *limits))


def _limit_files() -> Iterator[Path]:
    """Of this process's cgroup and of those that it lies in, of version 2 and of version 1: see cgroups(7)."""
    lines = _OWN_CGROUP.read_text().splitlines() if _OWN_CGROUP.is_file() else []
    paths = {tuple(line.split(":")[1].split(",")): line.split(":", 2)[2].strip("/") for line in lines}
    for controllers, path in {("",): "", ("memory",): "", **paths}.items():
        if controllers != ("",) and "memory" not in controllers:
            continue
        root, name = (_CGROUP, "memory.max") if controllers == ("",) else (_CGROUP / "memory", "memory.limit_in_bytes")
        parts = path.split("/") if path else []
        yield from (root.joinpath(*parts[:depth]) / name for depth in range(len(parts) + 1))


def taken_bytes(device: str) -> int:
    """What is taken of it before a model is loaded: by this process, and of a GPU by whatever uses it."""
    import torch

    if device == "cuda":
        free, total = torch.cuda.mem_get_info()
        return int(total - free)
    return _resident("VmRSS") or 0


@contextmanager
def peak_of(device: str) -> Iterator[Peak]:
    """Measures what runs inside: on a GPU what torch has reserved and all else that is taken, on a CPU under Linux what
    is resident of this process."""
    import torch

    peak = Peak()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        yield peak
        others = taken_bytes(device) - torch.cuda.memory_reserved()
        peak.num_bytes = others + torch.cuda.max_memory_reserved()
        return
    can_tell = device == "cpu" and _reset_peak()
    yield peak
    peak.num_bytes = _resident("VmHWM") if can_tell else None


def _reset_peak() -> bool:
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError:  # another system, or a container that forbids it
        return False
    return True


def _resident(name: str) -> int | None:
    lines = _STATUS.read_text().splitlines() if _STATUS.is_file() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)


def _number(file: Path) -> int | None:
    """None for a file that is not there, and for one that says that there is no limit."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
