"""Quantized weights: which settings there are, what they need, and what diffusers is told of them.

Linear layers of the denoiser and of the text encoders are quantized while they are loaded, row by row of their weights;
the VAE, convolutions, norms and embeddings stay in the model's dtype. A layer's activations, where they are quantized
too, have a scale for each token, so that no image's numbers depend on its neighbours in the batch.
"""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from darkroom.domain.errors import DarkroomError, MissingPackage
from darkroom.domain.settings import FLOAT8, NONE, ModelRef
from darkroom.rendering.model_files import INDEX

TORCHAO = "torchao"
_LIBRARIES = ("diffusers", "transformers")  # that quantize while they load
QUANTIZED_PARTS = ("unet", "transformer", "text_encoder")  # that names of components begin with
_CONFIGS = {
    "torchao_int8_weight_only": "Int8WeightOnlyConfig",
    "torchao_int8_dynamic_activation_int8_weight": "Int8DynamicActivationInt8WeightConfig",
    "torchao_float8_weight_only": "Float8WeightOnlyConfig",
}


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
