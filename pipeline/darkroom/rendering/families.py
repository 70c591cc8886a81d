"""The table of pipeline classes: what each one's call means by its arguments, as diffusers 0.42 has it.

Equal names hide different meanings from class to class, so each fact is written down here and nothing is guessed at
run time; tests/rendering/test_families.py compares what it can with the installed diffusers, and renders with a tiny
model of each class that one can be made of. Plain data: this module needs no torch.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import ceil, sqrt

from darkroom.domain.settings import CACHES
from darkroom.rendering.family import UNPROVED, Family, Flag, Guidance, Latents, Size, Text, Tokens, Wording

_CASCADE_PIXELS, _CASCADE_LATENTS, _CASCADE_VQGAN = 42.67, 10.67, 4  # of one latent pixel of the prior
_KANDINSKY5 = ((1024, 1024), (1408, 640), (640, 1408), (1280, 768), (768, 1280), (1152, 896), (896, 1152))


def rounded_down(size: Size, unit: int) -> Size:
    return size[0] // unit * unit, size[1] // unit * unit


def rounded_up(size: Size, unit: int) -> Size:
    return -(-size[0] // unit) * unit, -(-size[1] // unit) * unit


def of_one_area(size: Size, unit: int) -> Size:
    """HiDream: the area of a square of 64 units, 1024 pixels of the published model, in the ratio of the sides."""
    scale = sqrt((64 * unit) ** 2 / (size[0] * size[1]))
    return int(size[0] * scale // unit * unit), int(size[1] * scale // unit * unit)


def of_one_list(size: Size, _: int) -> Size:
    """Kandinsky 5: the size of nearly the same ratio of width to height."""
    return min(_KANDINSKY5, key=lambda each: (each != size, abs(each[1] / each[0] - size[1] / size[0])))


def of_two_stages(size: Size, _: int) -> Size:
    """Stable Cascade: whole latent pixels of the prior, then of the decoder."""
    height, width = (int(ceil(side / _CASCADE_PIXELS) * _CASCADE_LATENTS) * _CASCADE_VQGAN for side in size)
    return height, width


_SCALED = {"made_size": rounded_down, "unit": 2, "unit_of_latents": True}  # latents in patches of 2x2
_OF_FLUX = {**_SCALED, "latent_side": 128, "passes_sigmas": True, "caches": CACHES}
_CLIP_77 = Tokens("tokenizer", 77)


def _pixart(limit: int) -> Family:
    """Renders in the nearest of its trained sizes, and scales and cuts the picture to the size that was asked for."""
    return Family(mixes_guidance=True, tokens=(Tokens(limit=limit),))


_SD = Family(embedded_if=Flag("unet", "time_cond_proj_dim"), mixes_guidance=True)
_SD_PAG = Family(embedded_if=Flag("unet", "time_cond_proj_dim"))
_SD3 = Family(
    mixes_guidance=True,
    tokens=(Tokens("tokenizer_3", 256), _CLIP_77),
    unit=2,
    unit_of_latents=True,
)
_SANA = Family(
    mixes_guidance=True,
    tokens=(Tokens(limit=299),),  # 300 after the instruction, of which its end takes one
    unit=32,
)
_HUNYUAN_DIT = Family(
    mixes_guidance=True,
    tokens=(Tokens("tokenizer_2", 256), _CLIP_77),
    made_size=rounded_down,
    unit=16,
    arguments={"use_resolution_binning": False},  # which makes other sizes than were asked for
)
_KOLORS = Family(mixes_guidance=True, tokens=(Tokens(limit=256),), needs="sentencepiece")


def _video(frames_unit: int, fps: int, tokens: Tokens, **more: object) -> Family:
    """Of text alone. `fps`: as its papers and cards have it. LoRAs of several images in one batch were not tried."""
    facts = {"mixes_guidance": True, "mixes_loras": False, "unit": 16, "latents": Latents.OTHER, **more}
    return Family(frames_unit=frames_unit, fps=fps, tokens=(tokens,), output="frames", **facts)  # type: ignore[arg-type]


_LUMINA_SYSTEM = (
    "You are an assistant designed to generate superior images with the superior degree of image-text alignment based "
    "on textual prompts or user prompts. <Prompt Start> "
)

FAMILIES: Mapping[str, Family] = {
    "StableDiffusionPipeline": replace(
        _SD,
        img2img="StableDiffusionImg2ImgPipeline",
        inpaint="StableDiffusionInpaintPipeline",
        controlnets=(
            "StableDiffusionControlNetPipeline",
            "StableDiffusionControlNetImg2ImgPipeline",
            "StableDiffusionControlNetInpaintPipeline",
        ),
    ),
    "StableDiffusionXLPipeline": replace(
        _SD,
        img2img="StableDiffusionXLImg2ImgPipeline",
        inpaint="StableDiffusionXLInpaintPipeline",
        controlnets=(
            "StableDiffusionXLControlNetPipeline",
            "StableDiffusionXLControlNetImg2ImgPipeline",
            "StableDiffusionXLControlNetInpaintPipeline",
        ),
    ),
    "StableDiffusionPAGPipeline": replace(
        _SD_PAG, img2img="StableDiffusionPAGImg2ImgPipeline", inpaint="StableDiffusionPAGInpaintPipeline"
    ),
    "StableDiffusionXLPAGPipeline": replace(
        _SD_PAG, img2img="StableDiffusionXLPAGImg2ImgPipeline", inpaint="StableDiffusionXLPAGInpaintPipeline"
    ),
    # Its scheduler takes `original_inference_steps`; the guidance of its UNet is scale - 1.
    "LatentConsistencyModelPipeline": Family(
        Guidance.EMBEDDED,
        takes_negative_prompt=False,
        fixed_scheduler=True,
        img2img="LatentConsistencyModelImg2ImgPipeline",
    ),
    "StableDiffusion3Pipeline": replace(
        _SD3, img2img="StableDiffusion3Img2ImgPipeline", inpaint="StableDiffusion3InpaintPipeline"
    ),
    "StableDiffusion3PAGPipeline": _SD3,
    # A negative prompt acts by `true_cfg_scale` alone, a second guidance beside the embedded one.
    "FluxPipeline": Family(
        Guidance.NONE,
        embedded_if=Flag("transformer", "guidance_embeds"),
        takes_negative_prompt=False,
        tokens=(Tokens("tokenizer_2", 512), _CLIP_77),
        shared_text=(2,),
        latents=Latents.PACKED,
        img2img="FluxImg2ImgPipeline",
        inpaint="FluxInpaintPipeline",
        **_OF_FLUX,  # type: ignore[arg-type]
    ),
    # The chat template's own tokens count; those of Flux.2's system message are not known without the model.
    "Flux2Pipeline": Family(
        Guidance.EMBEDDED,
        takes_negative_prompt=False,
        tokens=(),
        latents=Latents.OTHER,
        **_OF_FLUX,  # type: ignore[arg-type]
    ),
    "Flux2KleinPipeline": Family(
        unguided_if=Flag("", "is_distilled"),
        takes_negative_prompt=False,  # its negative prompt is always the empty one
        tokens=(Tokens(limit=509),),  # 512 with three of the chat template before it
        mixes_guidance=True,
        latents=Latents.OTHER,
        **_OF_FLUX,  # type: ignore[arg-type]
    ),
    "PixArtAlphaPipeline": _pixart(120),
    "PixArtSigmaPipeline": _pixart(300),
    "PixArtSigmaPAGPipeline": Family(tokens=(Tokens(limit=300),)),
    "SanaPipeline": _SANA,
    "SanaPAGPipeline": Family(tokens=_SANA.tokens, unit=32),
    "SanaSprintPipeline": Family(
        Guidance.EMBEDDED,
        takes_negative_prompt=False,
        tokens=_SANA.tokens,
        unit=32,
        fixed_scheduler=True,
        only_at_steps=(2, "intermediate_timesteps"),
        latents=Latents.OTHER,
    ),
    # Without a negative prompt there is no guidance; the model's card gives a blank.
    "QwenImagePipeline": Family(
        guidance_argument="true_cfg_scale",
        no_negative_prompt=" ",
        text=Text.RAGGED,
        tokens=(Tokens(limit=512, wording=Wording.TEMPLATE),),
        latents=Latents.OTHER,
        img2img="QwenImageImg2ImgPipeline",
        inpaint="QwenImageInpaintPipeline",
        **_OF_FLUX,  # type: ignore[arg-type]
    ),
    # Guided by prompt + scale * (prompt - negative), so from 0 on.
    "ZImagePipeline": Family(
        unguided=0.0,
        mixes_loras=False,  # prompts and latents are lists, and one row after another in some layers
        text=Text.RAGGED,
        tokens=(Tokens(limit=509, wording=Wording.CHAT),),  # 512 with three of the chat template before it
        unit=2,
        unit_of_latents=True,
        latent_side=128,
        passes_sigmas=True,
        unfit_schedulers=("flow_unipc",),  # which cannot have its noise levels as a list
        img2img="ZImageImg2ImgPipeline",
        inpaint="ZImageInpaintPipeline",
    ),
    "ChromaPipeline": Family(
        mixes_guidance=True,
        shared_text=(1, 4),
        tokens=(Tokens(limit=512),),
        latents=Latents.PACKED,
        img2img="ChromaImg2ImgPipeline",
        **_OF_FLUX,  # type: ignore[arg-type]
    ),
    # Scales every size to an area of 1024x1024 pixels.
    "HiDreamImagePipeline": Family(
        mixes_guidance=True,
        mixes_loras=False,  # its experts take tokens, wherever they are from
        no_negative_prompt="",  # else encoded alone, and not in the batch's shape
        caches_text=False,  # layers of an encoder come before rows
        tokens=(Tokens("tokenizer_4", 128), Tokens("tokenizer_3", 128), Tokens(limit=128), Tokens("tokenizer_2", 128)),
        unit=2,
        unit_of_latents=True,
        made_size=of_one_area,
        latent_side=128,
        passes_sigmas=True,
    ),
    "HunyuanDiTPipeline": _HUNYUAN_DIT,
    "HunyuanDiTPAGPipeline": Family(
        tokens=_HUNYUAN_DIT.tokens, made_size=rounded_down, unit=16, arguments=_HUNYUAN_DIT.arguments
    ),
    # Guided by its own guider where its network does not take the scale; another guider where words are quoted.
    "HunyuanImagePipeline": Family(
        guidance_argument="distilled_guidance_scale",
        embedded_if=Flag("transformer", "guidance_embeds"),
        guider="guider",
        text=Text.QUOTED,
        tokens=(Tokens(limit=1000), Tokens("tokenizer_2", 128)),  # of the prompt, and of the words that it quotes
        made_size=rounded_down,
        unit=1,
        unit_of_latents=True,
        latent_side=64,
        passes_sigmas=True,
        caches=CACHES,
    ),
    "AuraFlowPipeline": Family(
        mixes_guidance=True,
        tokens=(Tokens(limit=256),),
        unit=2,
        unit_of_latents=True,
    ),
    "Lumina2Pipeline": Family(
        text=Text.RAGGED,
        tokens=(Tokens(limit=256, before=_LUMINA_SYSTEM),),
        unit=16,
        passes_sigmas=True,
    ),
    # Without a negative prompt, zeros; so one call has negative prompts for all of its images or for none.
    "CogView3PlusPipeline": Family(tokens=(Tokens(limit=224),), fixed_scheduler=True),
    "CogView4Pipeline": Family(
        text=Text.RAGGED,
        text_unit=16,
        tokens=(Tokens(limit=1024),),
        unit=16,
        passes_sigmas=True,
        caches=CACHES[1:],  # its attention has another name than TaylorSeer looks for
        unfit_schedulers=("flow_unipc",),  # which takes no `timesteps`
    ),
    "KolorsPipeline": replace(_KOLORS, img2img="KolorsImg2ImgPipeline"),
    "KolorsPAGPipeline": Family(tokens=_KOLORS.tokens, needs=_KOLORS.needs),
    "KandinskyV22CombinedPipeline": Family(
        tokens=(Tokens("prior_tokenizer"),),
        made_size=rounded_up,
        unit=64,
        lowest=-1.0,
        fixed_scheduler=True,
        doubled_generators=True,
        latents=Latents.OTHER,
    ),
    # Guided by (scale + 1) * prompt - scale * negative. Negative text is cut where the batch's longest prompt ends.
    "Kandinsky3Pipeline": Family(
        text=Text.RAGGED,
        tokens=(Tokens(limit=128),),
        made_size=rounded_up,
        unit=64,
        lowest=-1.0,
        passes_generator=True,
        latents=Latents.OTHER,
        img2img="Kandinsky3Img2ImgPipeline",
    ),
    "Kandinsky5T2IPipeline": Family(
        mixes_loras=False,  # not tried
        text=Text.RAGGED,
        caches_text=False,  # one output is where each prompt begins
        tokens=(Tokens(limit=510, wording=Wording.PROMPT_TEMPLATE),),
        made_size=of_one_list,
        output="image",
        needs="torchvision",  # of the processor that is its tokenizer
        latents=Latents.OTHER,
    ),
    # The prior is guided; its own steps stay as they are.
    "StableCascadeCombinedPipeline": Family(
        guidance_argument="prior_guidance_scale",
        tokens=(Tokens("prior_tokenizer"),),
        made_size=of_two_stages,
        fixed_scheduler=True,
        latents=Latents.OTHER,
    ),
    # Its UNet predicts a variance too, which few schedulers take.
    "IFPipeline": Family(
        mixes_guidance=True,
        tokens=(_CLIP_77,),
        lowest=-1.0,
        fixed_scheduler=True,
        latents=Latents.OTHER,
        img2img="IFImg2ImgPipeline",
        inpaint="IFInpaintingPipeline",
    ),
    # Without a negative prompt, zeros.
    "BriaPipeline": Family(
        tokens=(Tokens(limit=128),),
        unfit_schedulers=("flow_lcm",),  # which has no `scale_model_input`
        latents=Latents.PACKED,
        **_OF_FLUX,  # type: ignore[arg-type]
    ),
    "OvisImagePipeline": Family(
        mixes_guidance=True,
        shared_text=(2, 3),
        tokens=(Tokens(limit=256),),
        latents=Latents.PACKED,
        **_OF_FLUX,  # type: ignore[arg-type]
    ),
    # Guided by prompt + scale * (prompt - negative), so from 0 on.
    "Krea2Pipeline": Family(
        mixes_loras=False,  # not tried
        unguided=0.0,
        tokens=(Tokens(limit=507),),
        made_size=rounded_up,
        unit=2,
        unit_of_latents=True,
        passes_sigmas=True,
        latents=Latents.OTHER,
    ),
    # Patches of 2x2 latent pixels, of which Wan 2.2's small model has 16 pixels each.
    "WanPipeline": _video(4, 16, Tokens(limit=512), unit=2, unit_of_latents=True),
    "LTXPipeline": _video(8, 25, Tokens(limit=128), unit=32, fps_argument="frame_rate", passes_sigmas=True),
    "CogVideoXPipeline": _video(4, 8, Tokens(limit=226), unit=2, unit_of_latents=True),
    # A negative prompt acts by `true_cfg_scale` alone, a second guidance beside the embedded one.
    "HunyuanVideoPipeline": _video(
        4,
        24,
        Tokens(limit=256),
        guidance=Guidance.EMBEDDED,
        mixes_guidance=False,
        takes_negative_prompt=False,
        caches_text=False,  # one argument is a template of several parts
        passes_sigmas=True,
    ),
}


def family_of(pipeline_class: str) -> Family:
    """Facts of a class; those of most where the table does not know it."""
    return FAMILIES.get(pipeline_class, UNPROVED)
