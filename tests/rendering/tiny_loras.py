"""Random LoRAs for tiny models, made by peft and saved as diffusers saves them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
ALL_LAYERS = (*ATTENTION, "proj_in", "conv1", "conv2", "conv", "time_emb_proj", "ff.net.0.proj", "ff.net.2", "linear_1")
TEXT = ("q_proj", "k_proj", "v_proj", "out_proj")


def tiny_lora(
    model: Path,
    folder: Path,
    seed: int = 1,
    targets: Sequence[str] = ATTENTION,
    with_text: bool = False,
    **config: Any,
) -> Path:
    """The file of a LoRA of rank 2 for the denoiser, and for the first text encoder, whose effect is plain to see."""
    index = json.loads((model / "model_index.json").read_text())
    absent = [name for name, value in index.items() if value == [None, None]]
    pipe = DiffusionPipeline.from_pretrained(model, **dict.fromkeys(absent))
    name = "transformer" if hasattr(pipe, "transformer") else "unet"
    layers = {f"{name}_lora_layers": _random_layers(getattr(pipe, name), seed, targets, **config)}
    if with_text:
        layers["text_encoder_lora_layers"] = _random_layers(pipe.text_encoder, seed + 1, TEXT)
    type(pipe).save_lora_weights(str(folder), **layers)
    return folder / "pytorch_lora_weights.safetensors"


def as_kohya(file: Path, to: Path, alpha: float = 2.0) -> Path:
    """The same LoRA of a UNet in the names that most trainers write, with its alpha: 2 of rank 2 changes nothing."""
    found: dict[str, torch.Tensor] = {}
    for name, value in load_file(file).items():
        layer, _, end = name.removeprefix("unet.").rpartition(".lora")
        key = f"lora_unet_{layer.replace('.', '_')}"
        found[f"{key}.lora_{'down' if '_A' in end or 'down' in end else 'up'}.weight"] = value.contiguous()
        found[f"{key}.alpha"] = torch.tensor(alpha)
    to.parent.mkdir(parents=True, exist_ok=True)
    save_file(found, to)
    return to


def _random_layers(network: Any, seed: int, targets: Sequence[str], **config: Any) -> Mapping[str, torch.Tensor]:
    torch.manual_seed(seed)
    network.add_adapter(LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=list(targets), **config))
    layers = get_peft_model_state_dict(network)
    return {name: torch.randn_like(value) * 0.3 for name, value in layers.items()}
