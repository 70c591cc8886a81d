"""Real architectures with random weights, in exactly the layouts in which they are published."""

import json
from pathlib import Path

import numpy as np
import torch
from transformers import Dinov2Config, Dinov2Model

from darkroom.evaluation.inception import FidInception


def random_inception() -> dict[str, torch.Tensor]:
    """The same 472 tensors each time; scaled so that pictures still differ at the network's end."""
    rng = np.random.RandomState(0)
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in FidInception().state_dict().items()}
    return {
        name: torch.from_numpy(_draw(rng, name, shape))
        for name, shape in sorted(shapes.items())
        if not name.endswith("num_batches_tracked")
    }


def _draw(rng: np.random.RandomState, name: str, shape: tuple[int, ...]) -> np.ndarray:
    drawn = rng.standard_normal(shape)
    if name.endswith("running_var"):
        return (1 + 0.1 * drawn**2).astype(np.float32)
    if name.endswith("bn.weight"):
        return (1 + 0.1 * drawn).astype(np.float32)
    if len(shape) == 1:
        return (0.1 * drawn).astype(np.float32)
    return (drawn * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)


def tiny_dinov2(folder: Path) -> Path:
    """In the standard layout, with the processor file that facebook/dinov2-base has, at a quarter of the size."""
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=70, patch_size=14, layerscale_value=1.0
    )
    Dinov2Model(config).save_pretrained(folder)
    processor = {
        "image_processor_type": "BitImageProcessor",
        "size": {"shortest_edge": 64},
        "crop_size": {"height": 56, "width": 56},
        "resample": 3,
        "rescale_factor": 1 / 255,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        **dict.fromkeys(("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb"), True),
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder
