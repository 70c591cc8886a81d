"""Loads a transformers network from a folder: in float32, whole, and quiet. Knows no pictures."""

from typing import Any

import torch

from darkroom.domain.errors import DarkroomError
from darkroom.features.spec import ExtractorSpec
from darkroom.features.weights import ModelFolder
from darkroom.rendering.proof import detach_from_files


def load_network(network_class: Any, model: ModelFolder, spec: ExtractorSpec) -> Any:
    """The network on its device. What its weights lack would be made up at random, so it is refused."""
    quieten()
    network, report = network_class.from_pretrained(
        model.path,
        dtype=torch.float32,
        local_files_only=True,
        trust_remote_code=False,  # said, or else it is asked for on stdin
        use_safetensors=model.weights[0].suffix == ".safetensors",
        output_loading_info=True,
    )
    lacking = sorted(report["missing_keys"]) + [str(key) for key in report["mismatched_keys"]]
    if lacking:
        raise DarkroomError(
            f"extractor {spec.name}: the weights of source={spec.source} lack {len(lacking)} tensors that its "
            f"config.json asks for, such as {lacking[0]}; copy the model anew"
        )
    network = network.eval().requires_grad_(False).to(spec.device)
    detach_from_files([network])
    return network


def quieten() -> None:
    """No advice and no bars from transformers."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
