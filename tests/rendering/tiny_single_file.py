"""A Stable Diffusion 1.x model as one file, under the names that its first authors gave its weights."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import diffusers
import torch
from safetensors.torch import save_file

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}

State = Mapping[str, torch.Tensor]


def single_file(folder: Path, path: Path) -> Path:
    """The model in `folder`, in diffusers' layout, as one file."""
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    unet, vae = pipe.unet, pipe.vae
    weights = dict(_unet(unet.state_dict(), unet.config.layers_per_block))
    weights |= _vae(vae.state_dict(), len(vae.config.block_out_channels))
    text = {name.removeprefix("text_model."): value for name, value in pipe.text_encoder.state_dict().items()}
    weights |= {f"cond_stage_model.transformer.text_model.{name}": value for name, value in text.items()}
    save_file({name: value.contiguous() for name, value in weights.items()}, path)
    return path


def _unet(state: State, num_layers: int) -> Iterator[tuple[str, torch.Tensor]]:
    attended = {match[1] for name in state if (match := re.match(r"up_blocks\.(\d)\.attentions", name))}
    for name, value in state.items():
        yield f"model.diffusion_model.{_unet_name(name, num_layers, attended)}", value


def _unet_name(name: str, num_layers: int, attended: set[str]) -> str:
    """`attended`: up blocks with attention, whose upsampler comes one later."""
    top = {
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "conv_in": "input_blocks.0.0",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
    }
    for ours, theirs in top.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, theirs, 1)
    if match := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
        place = 1 if match[1] == "attentions" else 2 * int(match[2])
        return f"middle_block.{place}.{_inner(match[1], match[3])}"
    match = re.match(r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)", name)
    assert match, name
    side, block, kind, layer, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    if side == "down":
        if kind == "downsamplers":
            return f"input_blocks.{(block + 1) * (num_layers + 1)}.0.{rest.replace('conv', 'op')}"
        place = 1 + block * (num_layers + 1) + layer
        return f"input_blocks.{place}.{0 if kind == 'resnets' else 1}.{_inner(kind, rest)}"
    place = block * (num_layers + 1) + layer
    if kind == "upsamplers":
        return f"output_blocks.{block * (num_layers + 1) + num_layers}.{2 if match[2] in attended else 1}.{rest}"
    return f"output_blocks.{place}.{0 if kind == 'resnets' else 1}.{_inner(kind, rest)}"


def _inner(kind: str, rest: str) -> str:
    if kind != "resnets":
        return rest
    part, _, last = rest.rpartition(".")
    return f"{_RESNET[part]}.{last}"


def _vae(state: State, num_blocks: int) -> dict[str, torch.Tensor]:
    return dict(_vae_entry(name, value, num_blocks) for name, value in state.items())


def _vae_entry(name: str, value: torch.Tensor, num_blocks: int) -> tuple[str, torch.Tensor]:
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda match: f"mid.block_{int(match[1]) + 1}", name)
    if "mid_block.attentions.0" in name:
        name = name.replace("mid_block.attentions.0", "mid.attn_1")
        for ours, theirs in _VAE_ATTENTION.items():
            name = name.replace(f".{ours}.", f".{theirs}.")
        if value.ndim == 2:  # a convolution over single pixels
            value = value[:, :, None, None]
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    for kind, theirs in (("resnets", "block"), (r"upsamplers\.0", "upsample")):
        name = re.sub(
            rf"up_blocks\.(\d)\.{kind}",
            lambda match, theirs=theirs: f"up.{num_blocks - 1 - int(match[1])}.{theirs}",
            name,
        )
    return f"first_stage_model.{name}", value
