"""Which files of a folder a model may be read from. Knows no layout."""

from collections.abc import Iterator
from pathlib import Path

# Weights in formats that are never opened here, and words for people.
NEVER_READ = frozenset({".bin", ".ckpt", ".pt", ".pth", ".pkl", ".h5", ".msgpack", ".onnx", ".onnx_data", ".md"})


def files_in(folder: Path, ignored: frozenset[str] = NEVER_READ) -> Iterator[Path]:
    """Those below it. Hidden ones are others' notes, such as those of a download."""
    for path in folder.rglob("*"):
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not is_hidden and path.suffix not in ignored and path.is_file():
            yield path
