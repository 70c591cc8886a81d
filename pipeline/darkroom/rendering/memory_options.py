"""Settings by which a model takes less memory: what they need, whether the model can do what they ask for, and what
diffusers is told of them.

Linear layers of the denoiser and of the text encoders are quantized while they are loaded, row by row of their weights;
the VAE, convolutions, norms and embeddings stay in the model's dtype. A layer's activations, where they are quantized
too, have a scale for each token, so that no image's numbers depend on its neighbours in the batch. A VAE decodes image
by image, or tile by tile from some size on, where it can.
"""

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from darkroom.domain.adapters import VAE
from darkroom.domain.errors import DarkroomError, MissingPackage
from darkroom.domain.settings import FLOAT8, NONE, ModelRef
from darkroom.rendering.loading import loads_models
from darkroom.rendering.model_facts import config_of, pipeline_of
from darkroom.rendering.model_files import INDEX
from darkroom.rendering.part_files import PartFile, weights_file

TORCHAO = "torchao"
_LIBRARIES = ("diffusers", "transformers")  # that quantize while they load
QUANTIZED_PARTS = ("unet", "transformer", "text_encoder")  # that names of components begin with
_CONFIGS = {
    "torchao_int8_weight_only": "Int8WeightOnlyConfig",
    "torchao_int8_dynamic_activation_int8_weight": "Int8DynamicActivationInt8WeightConfig",
    "torchao_float8_weight_only": "Float8WeightOnlyConfig",
}
_VAE_OPTIONS = {"vae_tiling": "use_tiling", "vae_slicing": "use_slicing"}  # setting -> what a VAE that can do it has
_SIDES = ("tile_sample_min_size", "tile_sample_min_height", "tile_sample_min_width")  # pixels, of what it has of these


# Quantized weights ---------------------------------------------------------------------------------------------------


def check_quantization(ref: ModelRef, index: Mapping[str, Any]) -> None:
    """Raises DarkroomError where it cannot act. `index`: the model's model_index.json."""
    if ref.quantization == NONE:
        return
    label = f"model.quantization={ref.quantization}"
    if find_spec(TORCHAO) is None:
        raise MissingPackage(f"{label} needs the package {TORCHAO}; run `pip install 'darkroom[quantization]'`")
    if ref.dtype == FLOAT8:
        raise DarkroomError(f"{label}: model.dtype={FLOAT8} quantizes the same layers; leave one of them out")
    if not quantized_parts(index):
        raise DarkroomError(f"{label}: {ref.repo_id} has no component that can be quantized; leave it out")


def quantized_parts(index: Mapping[str, Any]) -> dict[str, str]:
    """Component -> library that it is of."""
    pairs = {
        name: value[0] for name, value in index.items() if isinstance(value, list) and name.startswith(QUANTIZED_PARTS)
    }
    return {name: library for name, library in pairs.items() if library in _LIBRARIES}


def quantization_config(quantization: str, folder: Path) -> Any:
    """diffusers' PipelineQuantizationConfig for the model in this folder."""
    import diffusers
    import torchao.quantization
    import transformers
    from diffusers.quantizers import PipelineQuantizationConfig

    kind = getattr(torchao.quantization, _CONFIGS[quantization])
    libraries = {"diffusers": diffusers.TorchAoConfig, "transformers": transformers.TorchAoConfig}
    mapping = {
        name: libraries[library](kind())
        for name, library in quantized_parts(json.loads((folder / INDEX).read_bytes())).items()
    }
    return PipelineQuantizationConfig(quant_mapping=mapping)


# Offloading ----------------------------------------------------------------------------------------------------------


@loads_models
def check_offload(ref: ModelRef, class_name: str) -> None:
    """Raises DarkroomError where the model cannot be. Of a class that it brings itself nothing is known before it is
    loaded."""
    pipeline = pipeline_of(class_name) if ref.offload == "model" else None
    if pipeline and pipeline.model_cpu_offload_seq is None:
        raise DarkroomError(
            f"model.offload=model: {class_name} does not say in which order its components compute; give "
            "model.offload=sequential"
        )


# Decoding ------------------------------------------------------------------------------------------------------------


def vae_config(folder: Path, parts: Sequence[PartFile]) -> Mapping[str, Any]:
    """Of the VAE that the model will have; empty where it has none. `folder`: the model's."""
    other = next((file for file in parts if file.part.kind == VAE), None)
    return config_of(weights_file(other.path, other.label, VAE).parent if other else folder / "vae")


def check_vae(ref: ModelRef, config: Mapping[str, Any]) -> None:
    """Raises DarkroomError where the VAE cannot do what is asked for."""
    for name, attribute in _VAE_OPTIONS.items():
        if not getattr(ref, name):
            continue
        kind = f"the VAE of {ref.repo_id}, {config['_class_name']}," if config else f"{ref.repo_id} has no VAE and so"
        if not hasattr(empty_vae(config), attribute):
            raise DarkroomError(f"model.{name}=true: {kind} cannot do this; leave it out")


def tile_side(config: Mapping[str, Any]) -> int | None:
    """Pixels: images of which neither side is longer are decoded whole. None where the VAE has no such number."""
    empty = empty_vae(config)
    found = [getattr(empty, name) for name in _SIDES if hasattr(empty, name)]
    return min((max(each) if isinstance(each, list | tuple) else each for each in found), default=None)


@loads_models
def empty_vae(config: Mapping[str, Any]) -> Any:
    """The VAE without weights; None where there is none, or diffusers does not have its class."""
    import diffusers
    import torch

    kind = getattr(diffusers, config.get("_class_name", ""), None)
    if kind is None:
        return None
    with torch.device("meta"):
        return kind.from_config(dict(config))
