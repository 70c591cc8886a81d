"""Takes weights out of the files that they were read from: what is only mapped changes when its file is overwritten."""

from bisect import bisect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_MAPS = Path("/proc/self/maps")


def leave_files(modules: Iterable[Any]) -> None:
    """Copy the parameters and buffers of torch modules that lie in a file's pages; all on a CPU where nothing tells."""
    starts, stops = _mapped()
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.device.type == "cpu" and not tensor.is_mkldnn and _lies_in(tensor.data_ptr(), starts, stops):
                tensor.data = tensor.data.clone()


def _mapped() -> tuple[list[int], list[int]]:
    """First and last addresses of this process's mapped files, rising."""
    if not _MAPS.exists():
        return [0], [1 << 64]
    lines = [line.split(maxsplit=5) for line in _MAPS.read_text("utf-8", "replace").splitlines()]
    ranges = [line[0].split("-") for line in lines if len(line) == 6 and line[5].startswith("/")]
    return [int(start, 16) for start, _ in ranges], [int(stop, 16) for _, stop in ranges]


def _lies_in(address: int, starts: list[int], stops: list[int]) -> bool:
    place = bisect(starts, address) - 1
    return place >= 0 and address < stops[place]
