"""Tiny models of every family that users bring, by a name: pipelines, and variants of a class or a scheduler."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from tests.rendering.tiny_families import PIPELINES, decoder, flow, pag, qwen_vae, qwen_vl, tiny, tokenizer
from tests.rendering.tiny_models import (
    WIDTH,
    tiny_flux,
    tiny_lcm,
    tiny_sd,
    tiny_sd3,
    tiny_sdxl,
    tiny_text_config,
    tiny_unet,
    tiny_vae,
    with_scheduler,
)
from tests.rendering.tiny_videos import VIDEOS, tiny_video

_SENTENCES = ("a red circle", "a large blue square beside a small green triangle", "two circles on a white background")


def krea2() -> Any:
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "mrope_interleaved": True, "rope_theta": 1e6}
    config = transformers.Qwen3VLConfig(
        text_config={**decoder(), "rope_scaling": rope, "rope_parameters": rope},
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": WIDTH,
            "deepstack_visual_indexes": [0],
        },
    )
    return diffusers.Krea2Pipeline(
        scheduler=flow(use_dynamic_shifting=True),
        vae=qwen_vae(),
        text_encoder=transformers.Qwen3VLModel(config),
        tokenizer=tokenizer(2048),
        transformer=diffusers.Krea2Transformer2DModel(
            in_channels=16,
            num_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            num_key_value_heads=1,
            intermediate_size=WIDTH,
            timestep_embed_dim=16,
            text_hidden_dim=WIDTH,
            num_text_layers=2,
            text_num_attention_heads=2,
            text_num_key_value_heads=2,
            text_intermediate_size=WIDTH,
            num_layerwise_text_blocks=1,
            num_refiner_text_blocks=1,
            axes_dims_rope=(4, 6, 6),
        ),
        text_encoder_select_layers=(1, 2),
    )


def kandinsky5() -> Any:
    """With the processor that its tokenizer is, which needs torchvision."""
    words = tokenizer(2048)
    words.add_tokens(["<|image_pad|>", "<|video_pad|>"], special_tokens=True)  # which it counts in every prompt
    processor = transformers.Qwen2VLProcessor(
        transformers.Qwen2VLImageProcessor(), words, transformers.Qwen2VLVideoProcessor()
    )
    transformer = diffusers.Kandinsky5Transformer3DModel(
        in_visual_dim=4,
        in_text_dim=WIDTH,
        in_text_dim2=WIDTH,
        time_dim=16,
        out_visual_dim=4,
        model_dim=WIDTH,
        ff_dim=WIDTH,
        num_text_blocks=1,
        num_visual_blocks=1,
        axes_dims=(4, 6, 6),
    )
    for each in transformer.parameters():
        if not each.any():  # as its gates are made, behind which text does nothing
            torch.nn.init.normal_(each, std=0.1)
    return diffusers.Kandinsky5T2IPipeline(
        transformer=transformer,
        vae=vae_of_large_pictures(),
        text_encoder=qwen_vl(),
        tokenizer=processor,
        text_encoder_2=transformers.CLIPTextModel(tiny_text_config(77)),
        tokenizer_2=tokenizer(77),
        scheduler=flow(shift=3.0),
    )


def vae_of_large_pictures() -> Any:
    """Of 8 pixels a latent pixel, and without attention, which pictures of 1024x1024 pixels would take long in."""
    return tiny_vae(4, num_blocks=4, shift_factor=0.1, use_quant_conv=False, mid_block_add_attention=False)


def kolors(folder: Path) -> Path:
    """Of tokens that sentencepiece, an optional package, learns of a few sentences."""
    import sentencepiece
    from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel
    from diffusers.pipelines.kolors.tokenizer import ChatGLMTokenizer

    torch.manual_seed(0)
    words = folder.parent / "words"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_SENTENCES * 20),
        model_prefix=str(words),
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    text_encoder = ChatGLMModel(
        ChatGLMConfig(
            num_layers=2,
            padded_vocab_size=128,
            hidden_size=WIDTH,
            ffn_hidden_size=WIDTH,
            kv_channels=16,
            num_attention_heads=2,
            multi_query_attention=True,
            multi_query_group_num=1,
            add_qkv_bias=True,
            original_rope=True,
        )
    )
    for each in text_encoder.parameters():  # its norms' are made without values
        torch.nn.init.normal_(each, std=0.1)
    diffusers.KolorsPipeline(
        vae=tiny_vae(4),
        text_encoder=text_encoder,
        tokenizer=ChatGLMTokenizer(str(words.with_suffix(".model"))),
        unet=tiny_unet(
            WIDTH // 2,
            encoder_hid_dim=WIDTH,
            encoder_hid_dim_type="text_proj",
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + WIDTH,
        ),
        scheduler=diffusers.EulerDiscreteScheduler(beta_schedule="scaled_linear", steps_offset=1),
    ).save_pretrained(folder)
    return folder


def stable_cascade(folder: Path) -> Path:
    """Its VQGAN called as in models of the hub, by the package that it lay in."""
    tiny("stable_cascade", folder)
    return changed(folder / "model_index.json", vqgan=["wuerstchen", "PaellaVQModel"]).parent


def sd2(folder: Path) -> Path:
    """Of v-prediction, as SD 2.1 of 768 pixels."""
    tiny_sd(folder, use_linear_projection=True)
    return changed(folder / "scheduler" / "scheduler_config.json", prediction_type="v_prediction").parent.parent


def turbo(folder: Path) -> Path:
    model = with_scheduler(tiny_sdxl(folder), "EulerAncestralDiscreteScheduler")
    return changed(model / "scheduler" / "scheduler_config.json", timestep_spacing="trailing").parent.parent


def perturbed(kind: str, plain: Callable[[Path], Path], folder: Path, layers: str | None = None) -> Path:
    """Of a model with fewer layers than the class perturbs by default, `layers` says which."""
    pag(kind, plain, folder)
    if layers:
        changed(folder / "model_index.json", pag_applied_layers=layers)
    return folder


def changed(path: Path, **values: object) -> Path:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return path


# Name -> what makes a folder of it.
MODELS: Mapping[str, Callable[[Path], Path]] = {
    **{name: partial(tiny, name) for name in PIPELINES},
    **{name: partial(tiny_video, name) for name in VIDEOS},
    "stable_cascade": stable_cascade,
    "sd15": tiny_sd,
    "sd2": sd2,
    "sdxl": tiny_sdxl,
    "sdxl_turbo": turbo,
    "lcm": lambda folder: pag("LatentConsistencyModelPipeline", tiny_lcm, folder),
    "sd3": tiny_sd3,
    "flux_schnell": tiny_flux,
    "krea2": lambda folder: saved(krea2, folder),
    "kandinsky5": lambda folder: saved(kandinsky5, folder),
    "kolors": kolors,
    "sd15_pag": lambda folder: perturbed("StableDiffusionPAGPipeline", tiny_sd, folder),
    "sdxl_pag": lambda folder: perturbed("StableDiffusionXLPAGPipeline", tiny_sdxl, folder),
    "sd3_pag": lambda folder: perturbed("StableDiffusion3PAGPipeline", tiny_sd3, folder, "blocks.0"),
    "pixart_sigma_pag": lambda folder: perturbed(
        "PixArtSigmaPAGPipeline", partial(tiny, "pixart_sigma"), folder, "blocks.0"
    ),
    "sana_pag": lambda folder: perturbed("SanaPAGPipeline", partial(tiny, "sana"), folder),
    "hunyuan_dit_pag": lambda folder: perturbed("HunyuanDiTPAGPipeline", partial(tiny, "hunyuan_dit"), folder),
    "kolors_pag": lambda folder: perturbed("KolorsPAGPipeline", kolors, folder),
}
# Pixels that they are rendered in, of sizes that they make; others 32.
SIDES = {"kandinsky22": 64, "kandinsky3": 64, "if": 16, "stable_cascade": 128, "hidream": 128, "kandinsky5": 1024}
NEEDS = {"kolors": "sentencepiece", "kolors_pag": "sentencepiece", "kandinsky5": "torchvision"}  # optional packages


def saved(make: Callable[[], Any], folder: Path) -> Path:
    torch.manual_seed(0)
    make().save_pretrained(folder)
    return folder
