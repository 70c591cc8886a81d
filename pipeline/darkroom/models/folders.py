"""Which files of a folder a model may be read from. Knows no layout."""

import os
from collections.abc import Iterator
from pathlib import Path

PICKLES = frozenset({".bin", ".ckpt", ".pt", ".pth", ".pkl"})
# Weights in formats that are never opened here (.xml is OpenVINO's network), and words for people.
NEVER_READ = PICKLES | {".h5", ".msgpack", ".onnx", ".onnx_data", ".xml", ".md"}


def files_in(folder: Path, ignored: frozenset[str] = NEVER_READ, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Those below it. Hidden ones are others' notes, such as those of a download.

    Links to folders are followed, as libraries follow them, but not back to a folder that they lie in, one of `above`.
    """
    above |= {os.path.realpath(folder)}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if os.path.realpath(entry.path) not in above:
                    yield from files_in(Path(entry.path), ignored, above)
            elif Path(entry.name).suffix not in ignored and entry.is_file():
                yield Path(entry.path)
