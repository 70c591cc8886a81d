"""What a benchmark runs on and what that could do at most; and large models, to be run on it.

Stable Diffusion 1.5 and XL have their real architecture with random weights: speed needs no training, and no download.
The sizes are those of the published configurations (Rombach et al. 2022; Podell et al. 2023).
"""

import os
import platform
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from darkroom import __version__
from darkroom.demo.encoders import make_tokenizer
from darkroom.domain.process import num_cores

_TOKENS = 77
_VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}
_EULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "timestep_spacing": "leading",
    "steps_offset": 1,
}
_CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
_CLIP_G = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "hidden_act": "gelu",
}
_LIBRARIES = ("torch", "diffusers", "transformers", "ray", "numpy", "pyarrow", "pillow")
_SIDE = 8192  # of the square matrices
_REPEATS = 30


@dataclass(frozen=True)
class Architecture:
    """What a pipeline is built from."""

    name: str
    pipeline_class: str
    side: int  # pixels, height and width
    unet: dict[str, Any]
    vae: dict[str, Any]
    text_encoders: tuple[dict[str, Any], ...]

    @property
    def is_xl(self) -> bool:
        return len(self.text_encoders) == 2


SD15 = Architecture(
    name="sd15",
    pipeline_class="StableDiffusionPipeline",
    side=512,
    unet={
        "sample_size": 64,
        "block_out_channels": (320, 640, 1280, 1280),
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
    },
    vae={**_VAE, "sample_size": 512, "scaling_factor": 0.18215},
    text_encoders=(_CLIP_L,),
)
SDXL = Architecture(
    name="sdxl",
    pipeline_class="StableDiffusionXLPipeline",
    side=1024,
    unet={
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 2,
        "up_block_types": ("CrossAttnUpBlock2D",) * 2 + ("UpBlock2D",),
        "cross_attention_dim": 2048,
        "attention_head_dim": (5, 10, 20),
        "transformer_layers_per_block": (1, 2, 10),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
    vae={**_VAE, "sample_size": 1024, "scaling_factor": 0.13025},
    text_encoders=(_CLIP_L, _CLIP_G),
)


def unet(architecture: Architecture) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(in_channels=4, out_channels=4, layers_per_block=2, **architecture.unet)


def vae(architecture: Architecture) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(**architecture.vae)


def random_pipeline(architecture: Architecture, device: str, dtype: torch.dtype) -> Any:
    """The whole pipeline, made on the device."""
    import diffusers

    torch.manual_seed(0)
    with torch.device(device):
        parts = {"unet": unet(architecture), "vae": vae(architecture), **_text_parts(architecture)}
    models = {name: part.to(device, dtype).eval() for name, part in parts.items()}
    scheduler = diffusers.EulerDiscreteScheduler(**_EULER)
    without = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    others: dict[str, Any] = {} if architecture.is_xl else without
    pipe = getattr(diffusers, architecture.pipeline_class)(
        **models, **_tokenizers(architecture), scheduler=scheduler, **others
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _text_parts(architecture: Architecture) -> dict[str, Any]:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    tokenizer = make_tokenizer()
    marks = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    configs = [
        CLIPTextConfig(**sizes, **marks, max_position_embeddings=_TOKENS, projection_dim=sizes["hidden_size"])
        for sizes in architecture.text_encoders
    ]
    if not architecture.is_xl:
        return {"text_encoder": CLIPTextModel(configs[0])}
    return {"text_encoder": CLIPTextModel(configs[0]), "text_encoder_2": CLIPTextModelWithProjection(configs[1])}


def _tokenizers(architecture: Architecture) -> dict[str, Any]:
    """The embedded model's own: its words stand for others, and every prompt is padded to the same length."""
    tokenizer = make_tokenizer()
    tokenizer.model_max_length = _TOKENS
    return {"tokenizer": tokenizer, "tokenizer_2": tokenizer} if architecture.is_xl else {"tokenizer": tokenizer}


def machine() -> dict[str, object]:
    return {
        "processor": _processor(),
        "cores": num_cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_before": os.getloadavg()[0],  # what else ran, averaged over a minute
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "darkroom": __version__,
        **{name: _version(name) for name in _LIBRARIES},
    }


def num_devices(device: str) -> int:
    """How many workers this machine has room for: a core each, or a GPU."""
    if device != "cuda":
        return num_cores() if device == "cpu" else 1
    import torch

    return torch.cuda.device_count()


def _version(library: str) -> str | None:
    """None where it is not installed: a figure on a GPU needs no Ray."""
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def unet_flop(architecture: Architecture) -> float:
    """Of one row of a batch, in one step; counted on shapes alone."""
    with torch.device("meta"):
        model = unet(architecture)
        side = architecture.unet["sample_size"]
        text = torch.empty(1, _TOKENS, architecture.unet["cross_attention_dim"])
        pooled = torch.empty(1, architecture.text_encoders[-1]["hidden_size"])
        added = {"text_embeds": pooled, "time_ids": torch.empty(1, 6)} if architecture.is_xl else None
        arguments = torch.empty(1, 4, side, side), torch.empty(1), text
    return _counted(lambda: model(*arguments, added_cond_kwargs=added))


def vae_flop(architecture: Architecture) -> float:
    """Of decoding one image."""
    with torch.device("meta"):
        model = vae(architecture)
        latents = torch.empty(1, 4, architecture.side // 8, architecture.side // 8)
    return _counted(lambda: model.decode(latents))


def image_flop(architecture: Architecture, num_inference_steps: int) -> float:
    """Of an image with guidance, two rows a step; the text apart."""
    return 2 * num_inference_steps * unet_flop(architecture) + vae_flop(architecture)


def matrix_rate(device: str, dtype: torch.dtype) -> float:
    """Floating-point operations a second of large products, as the card does them now."""
    one, other = (torch.randn(_SIDE, _SIDE, device=device, dtype=dtype) for _ in range(2))
    for repeats in (3, _REPEATS):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(repeats):
            one @ other
        torch.cuda.synchronize()
    return 2 * _SIDE**3 * _REPEATS / (time.perf_counter() - started)


def _counted(call: Any) -> float:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())
