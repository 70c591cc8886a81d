"""Saved weights in half the bytes."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def halve_weights(folder: Path) -> None:
    """Turn every safetensors file below a folder into float16; configurations go on saying float32, to load as that."""
    for weights in folder.rglob("*.safetensors"):
        tensors = {name: tensor.to(torch.float16) for name, tensor in load_file(weights).items()}
        save_file(tensors, weights, metadata={"format": "pt"})
