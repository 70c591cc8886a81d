"""The headers of safetensors files: which tensors they hold, of what shape, in what numbers, and whether all is there.

Eight bytes, little-endian, say how long the JSON is that follows; the tensors' bytes come after it.
https://github.com/huggingface/safetensors#format
"""

import json
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import ModelRef

SAFETENSORS = ".safetensors"
_DENOISERS = ("unet", "transformer", "decoder")
# safetensors' names of numbers; what is stored in fewer bits is computed in bfloat16.
_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float32"}
_MAX_HEADER = 100_000_000  # bytes, as the safetensors library has it

Shape = tuple[int, ...]


@dataclass(frozen=True)
class StoredTensor:
    dtype: str  # by safetensors' name, such as BF16
    shape: Shape
    begin: int  # of its bytes, after the header
    end: int


def header(file: Path, label: str) -> dict[str, StoredTensor]:
    """The tensors of a file by their names. Raises DarkroomError for one that is no safetensors file, or is cut off."""
    try:
        with file.open("rb") as opened:
            (size,) = struct.unpack("<Q", opened.read(8))
            found = json.loads(opened.read(min(size, _MAX_HEADER)))
        tensors = {name: _tensor(about) for name, about in found.items() if name != "__metadata__"}
        num_bytes = file.stat().st_size
    except (OSError, ValueError, struct.error, AttributeError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its header is not that of such a file"
        raise DarkroomError(f"{label}: {file.name} cannot be read as safetensors ({reason}); copy it anew") from error
    if num_bytes < 8 + size + max((tensor.end for tensor in tensors.values()), default=0):
        raise DarkroomError(f"{label}: {file.name} is cut off after {num_bytes} bytes; copy it anew")
    return tensors


def _tensor(about: Mapping[str, Any]) -> StoredTensor:
    begin, end = about["data_offsets"]
    return StoredTensor(str(about["dtype"]), tuple(map(int, about["shape"])), int(begin), int(end))


def main_dtype(tensors: Iterable[StoredTensor]) -> str:
    """What most bytes are stored in, by torch's name."""
    num_bytes = Counter[str]()
    for tensor in tensors:
        num_bytes[tensor.dtype] += tensor.end - tensor.begin
    return _DTYPES.get(max(num_bytes, key=num_bytes.__getitem__), "bfloat16") if num_bytes else "float16"


def stored_dtype(
    components: Mapping[str, str], files: list[str], folder: Path, ref: ModelRef, commit: str | None
) -> str:
    """What the denoiser's weights are stored in, by the headers of their files; text encoders and VAEs are often stored
    in others, and a pipeline has one."""
    name = next((each for each in _DENOISERS if each in components), None)
    chosen = chosen_files(name, files, ref.variant) if name else []
    return main_dtype(tensor for file in chosen for tensor in _tensors_of(folder / file, file, ref, commit))


def component_tensors(folder: Path, component: str, variant: str | None, source: str) -> dict[str, StoredTensor]:
    """The tensors that are loaded of a component, by their names; none where it has no weights.

    `folder`: that of the model, which errors call `source`.
    """
    files = [f"{component}/{file.name}" for file in sorted((folder / component).iterdir())]
    chosen = chosen_files(component, files, variant)
    found = [header(folder / file, f"model.repo_id={source}: {component}") for file in chosen]
    return {name: tensor for each in found for name, tensor in each.items()}


def chosen_files(component: str, files: list[str], variant: str | None) -> list[str]:
    """Of a model's files, those with the weights that are loaded of a component."""
    mine = [file for file in files if file.startswith(f"{component}/") and file.endswith(SAFETENSORS)]
    return [file for file in mine if (variant is None) == (not _has_variant(file)) or f".{variant}" in file] or mine


def _has_variant(file: str) -> bool:
    """Whether a file's name has one, such as model.fp16.safetensors or model.fp16-00001-of-00002.safetensors."""
    return len(Path(file).name.split(".")) > 2


def _tensors_of(here: Path, file: str, ref: ModelRef, commit: str | None) -> Iterable[StoredTensor]:
    if here.is_file():
        return header(here, f"model.repo_id={ref.repo_id}").values()
    from huggingface_hub import HfApi

    try:
        found = HfApi().parse_safetensors_file_metadata(ref.repo_id, file, revision=commit)
    except Exception as error:  # of the network, or of a header that is none
        raise DarkroomError(
            f"model.dtype=auto: the header of {file} of {ref.repo_id} cannot be read ({type(error).__name__}); give "
            "model.dtype"
        ) from error
    return [StoredTensor(info.dtype, tuple(info.shape), *info.data_offsets) for info in found.tensors.values()]
