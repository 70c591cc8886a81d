"""What numbers a model's weights are stored in, read from the headers of its safetensors files alone."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import ModelRef

_DENOISERS = ("unet", "transformer", "decoder")
# safetensors' names; what is stored in fewer bits is computed in bfloat16.
_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float32"}


def stored_dtype(
    components: Mapping[str, str], files: list[str], folder: Path, ref: ModelRef, commit: str | None
) -> str:
    """The numbers that the denoiser's weights are stored in, by the headers of their files; text encoders and VAEs are
    often stored in others, and a pipeline has one."""
    name = next((each for each in _DENOISERS if each in components), None)
    mine = [file for file in files if name and file.startswith(f"{name}/") and file.endswith(".safetensors")]
    chosen = [file for file in mine if (ref.variant is None) == (not _has_variant(file)) or f".{ref.variant}" in file]
    counts = Counter[str]()
    for file in chosen or mine:
        counts.update(_stored_bytes(folder, file, ref, commit))
    return dtype_of(counts)


def dtype_of(counts: Mapping[str, int]) -> str:
    """What most bytes are, of bytes by safetensors' names."""
    return _DTYPES.get(max(counts, key=counts.__getitem__), "bfloat16") if counts else "float16"


def _has_variant(file: str) -> bool:
    """Whether a file's name has one, such as model.fp16.safetensors or model.fp16-00001-of-00002.safetensors."""
    return len(Path(file).name.split(".")) > 2


def _stored_bytes(folder: Path, file: str, ref: ModelRef, commit: str | None) -> Mapping[str, int]:
    """Bytes by the name that safetensors has for their numbers, from the header alone."""
    here = folder / file
    return bytes_by_dtype(local_header(here) if here.is_file() else _remote_header(file, ref, commit))


def local_header(file: Path) -> dict[str, Any]:
    """What a safetensors file says of its tensors, by their names."""
    with file.open("rb") as stream:
        found: dict[str, Any] = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return found


def bytes_by_dtype(tensors: Mapping[str, Any]) -> Mapping[str, int]:
    sizes = Counter[str]()
    for name, tensor in tensors.items():
        if name != "__metadata__":
            sizes[tensor["dtype"]] += tensor["data_offsets"][1] - tensor["data_offsets"][0]
    return sizes


def _remote_header(file: str, ref: ModelRef, commit: str | None) -> dict[str, Any]:
    from huggingface_hub import HfApi

    try:
        found = HfApi().parse_safetensors_file_metadata(ref.repo_id, file, revision=commit)
    except Exception as error:  # of the network, or of a header that is none
        raise DarkroomError(
            f"model.dtype=auto: the header of {file} of {ref.repo_id} cannot be read ({type(error).__name__}); give "
            "model.dtype"
        ) from error
    return {name: {"dtype": info.dtype, "data_offsets": info.data_offsets} for name, info in found.tensors.items()}
