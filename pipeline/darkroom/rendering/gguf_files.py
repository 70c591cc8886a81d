"""Quantized weights of a denoiser as a GGUF file, in the place of the model's own: checked, and loaded by diffusers.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from darkroom.domain.adapters import GGUF
from darkroom.domain.errors import DarkroomError, first_line
from darkroom.domain.settings import FLOAT8, ModelRef
from darkroom.rendering.loading import loads_models
from darkroom.rendering.model_files import components_of
from darkroom.rendering.part_files import PartFile, digested, weights_file
from darkroom.rendering.stored_tensors import StoredTensor

_DENOISERS = ("transformer", "unet")
_BYTES = "U8"  # by safetensors' name


def gguf_part(ref: ModelRef, index: Mapping[str, Any]) -> PartFile:
    """The file with its digest. `index`: the model's model_index.json. Raises DarkroomError where it cannot be used."""
    label = f"model.gguf={ref.gguf}"
    if find_spec("gguf") is None:
        raise DarkroomError(f"{label} needs the package gguf; run `pip install 'darkroom[gguf]'`")
    if ref.dtype == FLOAT8:
        raise DarkroomError(f"{label}: model.dtype={FLOAT8} is of the same layers; leave one of them out")
    _kind_of(index, label)
    file = weights_file(str(ref.gguf), label, GGUF)
    _tensors(file, label)
    return digested(GGUF, file.stem, str(ref.gguf))


def gguf_of(parts: Iterable[PartFile]) -> PartFile | None:
    return next((file for file in parts if file.part.kind == GGUF), None)


def denoiser_of(index: Mapping[str, Any]) -> str | None:
    """The component whose weights such a file has; None where the model has none that diffusers can load so."""
    components = components_of(index)
    return next((name for name in _DENOISERS if components.get(name) == "diffusers"), None)


@loads_models
def _kind_of(index: Mapping[str, Any], label: str) -> Any:
    import diffusers
    from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

    name = denoiser_of(index)
    found = index[name][1] if name else f"model that is a {index.get('_class_name')}"
    if found not in SINGLE_FILE_LOADABLE_CLASSES:
        raise DarkroomError(f"{label}: diffusers loads no {found} from such a file; leave it out")
    return getattr(diffusers, found)


def _tensors(file: Path, label: str) -> list[Any]:
    """What is in it, without its bytes."""
    from gguf import GGUFReader

    try:
        return list(GGUFReader(file).tensors)
    except Exception as error:  # it raises what it likes
        raise DarkroomError(f"{label} cannot be read as GGUF ({first_line(error)}); copy it anew") from error


def gguf_tensors(part: PartFile) -> dict[str, StoredTensor]:
    """Its tensors as so many bytes each, which they take when they are loaded too."""
    found = _tensors(weights_file(part.path, part.label, GGUF), part.label)
    return {each.name: StoredTensor(_BYTES, (int(each.n_bytes),), 0, int(each.n_bytes)) for each in found}


def gguf_layer(part: PartFile) -> dict[str, StoredTensor]:
    """Its largest tensor in the numbers that it is computed in, as it is held while its layer computes."""
    found = _tensors(weights_file(part.path, part.label, GGUF), part.label)
    largest = max(found, key=lambda each: int(each.n_elements))
    return {largest.name: StoredTensor("F32", tuple(map(int, largest.shape)), 0, 0)}


@loads_models
def load_gguf(part: PartFile, folder: Path, index: Mapping[str, Any], dtype: Any) -> dict[str, Any]:
    """Name -> the denoiser, configured as in the model's folder, computing in `dtype`."""
    import diffusers

    name, kind = denoiser_of(index), _kind_of(index, part.label)
    file = weights_file(part.path, part.label, GGUF)
    try:
        found = kind.from_single_file(
            str(file),
            config=str(folder),
            subfolder=name,
            quantization_config=diffusers.GGUFQuantizationConfig(compute_dtype=dtype),
            torch_dtype=dtype,
            local_files_only=True,
        )
    except Exception as error:  # diffusers raises what it likes for a file of another model
        raise DarkroomError(
            f"{part.label} is not read as a {kind.__name__} ({first_line(error)}); give a file that was made of this "
            "model's weights"
        ) from error
    missing = [tensor for tensor, value in found.state_dict().items() if value.is_meta]
    if missing:
        raise DarkroomError(f"{part.label} has no {missing[0]}; give a file with all weights of the {name}")
    return {str(name): found}
