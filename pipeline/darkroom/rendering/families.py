"""The table of pipeline classes: what each one's call means by its arguments, as diffusers 0.42 has it.

Equal names hide different meanings from class to class, so each fact is written down here and nothing is guessed at
run time; tests/rendering/test_families.py compares what it can with the installed diffusers, and renders with a tiny
model of each class that one can be made of. Plain data: this module needs no torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from darkroom.domain.settings import CACHES
from darkroom.rendering.sizes import Size, of_one_area, of_one_list, of_two_stages, rounded_down, rounded_up


class Guidance(Enum):
    """How a model is guided towards its prompt."""

    BRANCHES = "branches"  # classifier-free: the difference of two predictions, with the prompt and without
    EMBEDDED = "embedded"  # the scale is an input of the network
    NONE = "none"  # the scale changes nothing


class Text(Enum):
    """What an image's text embeddings depend on, beside its own prompt."""

    FIXED = "fixed"  # nothing: padded to one width
    RAGGED = "ragged"  # the longest prompt of the batch
    QUOTED = "quoted"  # whether any prompt of the batch quotes words to be written in the picture


@dataclass(frozen=True)
class Flag:
    """A value of a component's config.json, or, where `component` is empty, of model_index.json."""

    component: str
    key: str


class Wording(Enum):
    """What a tokenizer is given for a prompt, where the number of its tokens matters."""

    PLAIN = "plain"  # the prompt
    TEMPLATE = "prompt_template_encode"  # the pipeline's attribute of this name, filled in
    PROMPT_TEMPLATE = "prompt_template"
    CHAT = "chat"  # the tokenizer's chat template, with the prompt as the user's message


@dataclass(frozen=True)
class Tokens:
    """A tokenizer of the pipeline, and how much of a prompt its encoder reads."""

    name: str = "tokenizer"
    limit: int | None = None  # tokens of a prompt as this tokenizer counts them; None: the tokenizer's own limit
    before: str = ""  # text that the pipeline puts before each prompt, which counts
    wording: Wording = Wording.PLAIN  # how the pipeline words a prompt for it


@dataclass(frozen=True)
class Family:
    """One class. The defaults are those of most classes."""

    guidance: Guidance = Guidance.BRANCHES
    guidance_argument: str = "guidance_scale"
    unguided: float = 1.0  # at this scale and below there is no guidance
    embedded_if: Flag | None = None  # where the value is set, guidance is embedded, and else what `guidance` says
    unguided_if: Flag | None = None  # where the value is set, there is no guidance
    guider: str | None = None  # the component that guides, unless guidance is embedded; without it there is none
    mixes_guidance: bool = False  # a call may have a scale and a negative prompt for each image, exactly
    mixes_loras: bool = True  # every layer has rows by image, so that each may have LoRAs of its own, exactly
    takes_negative_prompt: bool = True
    no_negative_prompt: str | None = None  # what stands for an empty one; None: the argument is left out
    text: Text = Text.FIXED
    text_unit: int = 1  # of ragged text: widths are padded to a multiple of it, on the left
    tokens: tuple[Tokens, ...] = (Tokens(),)  # the one that reads most first: the first that a model has counts
    caches_text: bool = True  # every output of `encode_prompt` has a row for each prompt, or is None, but for
    shared_text: tuple[int, ...] = ()  # those at these places, which all prompts share
    unit: int = 8  # of height and width; in pixels, or where `unit_of_latents` in latent pixels
    unit_of_latents: bool = False
    made_size: Callable[[Size, int], Size] | None = None  # from (size, unit); None: a size between multiples fails
    latent_side: int | None = None  # default height and width in latent pixels, where no config says it
    output: str = "images"  # attribute of what a call returns
    lowest: float = 0.0  # of the range of `output_type="pt"`, whose highest value is 1
    fixed_scheduler: bool = False  # steps as the model's own scheduler alone takes them
    passes_sigmas: bool = False  # steps by noise levels or a shift of its own, which not every scheduler takes
    passes_generator: bool = False  # gives each step a generator, which not every scheduler takes
    unfit_schedulers: tuple[str, ...] = ()  # by Darkroom's names: others that its call does not work with
    arguments: Mapping[str, object] = field(default_factory=dict, hash=False)  # given to every call
    only_at_steps: tuple[int, str] | None = None  # (steps, an argument whose default is for them; else it is None)
    doubled_generators: bool = False  # a negative prompt is a row of its own and takes noise too
    caches: tuple[str, ...] = ()  # of its transformer, by `sampling.cache`'s names
    needs: str | None = None  # an optional package
    is_proved: bool = True  # false: a class that is not in the table


UNPROVED = Family(is_proved=False, mixes_loras=False)
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
_LUMINA_SYSTEM = (
    "You are an assistant designed to generate superior images with the superior degree of image-text alignment based "
    "on textual prompts or user prompts. <Prompt Start> "
)

FAMILIES: Mapping[str, Family] = {
    "StableDiffusionPipeline": _SD,
    "StableDiffusionXLPipeline": _SD,
    "StableDiffusionPAGPipeline": _SD_PAG,
    "StableDiffusionXLPAGPipeline": _SD_PAG,
    # Its scheduler takes `original_inference_steps`; the guidance of its UNet is scale - 1.
    "LatentConsistencyModelPipeline": Family(Guidance.EMBEDDED, takes_negative_prompt=False, fixed_scheduler=True),
    "StableDiffusion3Pipeline": _SD3,
    "StableDiffusion3PAGPipeline": _SD3,
    # A negative prompt acts by `true_cfg_scale` alone, a second guidance beside the embedded one.
    "FluxPipeline": Family(
        Guidance.NONE,
        embedded_if=Flag("transformer", "guidance_embeds"),
        takes_negative_prompt=False,
        tokens=(Tokens("tokenizer_2", 512), _CLIP_77),
        shared_text=(2,),
        **_OF_FLUX,  # type: ignore[arg-type]
    ),
    # The chat template's own tokens count; those of Flux.2's system message are not known without the model.
    "Flux2Pipeline": Family(
        Guidance.EMBEDDED,
        takes_negative_prompt=False,
        tokens=(),
        **_OF_FLUX,  # type: ignore[arg-type]
    ),
    "Flux2KleinPipeline": Family(
        unguided_if=Flag("", "is_distilled"),
        takes_negative_prompt=False,  # its negative prompt is always the empty one
        tokens=(Tokens(limit=509),),  # 512 with three of the chat template before it
        mixes_guidance=True,
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
    ),
    # Without a negative prompt there is no guidance; the model's card gives a blank.
    "QwenImagePipeline": Family(
        guidance_argument="true_cfg_scale",
        no_negative_prompt=" ",
        text=Text.RAGGED,
        tokens=(Tokens(limit=512, wording=Wording.TEMPLATE),),
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
    ),
    "ChromaPipeline": Family(
        mixes_guidance=True,
        shared_text=(1, 4),
        tokens=(Tokens(limit=512),),
        **_OF_FLUX,  # type: ignore[arg-type]
    ),
    # Scales every size to an area of 1024x1024 pixels.
    "HiDreamImagePipeline": Family(
        mixes_guidance=True,
        mixes_loras=False,  # its experts take tokens, wherever they are from
        no_negative_prompt="",  # else encoded alone, and not in the batch's shape
        caches_text=False,  # layers of an encoder come before rows
        tokens=(Tokens("tokenizer_4", 128), Tokens("tokenizer_3", 128)),
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
    "KolorsPipeline": _KOLORS,
    "KolorsPAGPipeline": Family(tokens=_KOLORS.tokens, needs=_KOLORS.needs),
    "KandinskyV22CombinedPipeline": Family(
        tokens=(Tokens("prior_tokenizer"),),
        made_size=rounded_up,
        unit=64,
        lowest=-1.0,
        fixed_scheduler=True,
        doubled_generators=True,
    ),
    # Guided by (scale + 1) * prompt - scale * negative. Negative text is cut where the batch's longest prompt ends.
    "Kandinsky3Pipeline": Family(
        text=Text.RAGGED,
        tokens=(Tokens(limit=128),),
        made_size=rounded_up,
        unit=64,
        lowest=-1.0,
        passes_generator=True,
    ),
    "Kandinsky5T2IPipeline": Family(
        mixes_loras=False,  # not tried
        text=Text.RAGGED,
        caches_text=False,  # one output is where each prompt begins
        tokens=(Tokens(limit=510, wording=Wording.PROMPT_TEMPLATE),),
        made_size=of_one_list,
        output="image",
        needs="torchvision",  # of the processor that is its tokenizer
    ),
    # The prior is guided; its own steps stay as they are.
    "StableCascadeCombinedPipeline": Family(
        guidance_argument="prior_guidance_scale",
        tokens=(Tokens("prior_tokenizer"),),
        made_size=of_two_stages,
        fixed_scheduler=True,
    ),
    # Its UNet predicts a variance too, which few schedulers take.
    "IFPipeline": Family(mixes_guidance=True, tokens=(_CLIP_77,), lowest=-1.0, fixed_scheduler=True),
    # Without a negative prompt, zeros.
    "BriaPipeline": Family(
        tokens=(Tokens(limit=128),),
        unfit_schedulers=("flow_lcm",),  # which has no `scale_model_input`
        **_OF_FLUX,  # type: ignore[arg-type]
    ),
    "OvisImagePipeline": Family(
        mixes_guidance=True,
        shared_text=(2, 3),
        tokens=(Tokens(limit=256),),
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
    ),
}


def family_of(pipeline_class: str) -> Family:
    """Facts of a class; those of most where the table does not know it."""
    return FAMILIES.get(pipeline_class, UNPROVED)
