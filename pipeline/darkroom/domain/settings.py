"""The table of settings: what a person may say of a model and of how prompts become images, each declared once.

`ModelRef` and `Sampling` are the table. Whatever lists settings reads it by `settings_of`: the configuration's schema
and its limits, a grid's axes, the columns of prompt files and of records, the text in image files, the ids of cells,
the report. A new setting is a field here, and what the renderer does with it.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, get_args, get_type_hints

from darkroom.domain.adapters import InversionRef, LoraRef
from darkroom.domain.prompt_syntax import A1111, PLAIN

Value = str | int | float | bool | None
NUM_SEEDS = 2**63  # int64 in Parquet; torch.Generator.manual_seed takes it whole
FLOAT8 = "float8"  # a dtype that is faster than the others, and lossy
NONE = "none"  # of a choice that may be left out
RESIZE_NONE, RESIZE_SCALE, RESIZE_CROP = NONE, "scale", "crop"  # of `image_resize`
# Caches of transformers, by the names of diffusers' configurations of them.
CACHES = ("taylorseer", "taylorseer_lite", "pyramid_attention_broadcast")
# torchao's configurations that run on CPUs too, by the names that diffusers has for them.
QUANTIZATIONS = (
    "torchao_int8_weight_only",
    "torchao_int8_dynamic_activation_int8_weight",
    "torchao_float8_weight_only",
)


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both included, that are a multiple of `multiple`."""

    low: float
    high: float
    multiple: int = 1  # 1: any number

    def __contains__(self, value: float) -> bool:
        """NaN is in none."""
        return self.low <= value <= self.high and (self.multiple == 1 or value % self.multiple == 0)

    def __str__(self) -> str:
        """Such as "a multiple of 8 from 8 to 16384"."""
        return f"{f'a multiple of {self.multiple} ' if self.multiple > 1 else ''}from {self.low} to {self.high}"


@dataclass(frozen=True)
class Setting:
    """One line of the table."""

    name: str
    kind: type  # str, int, float or bool; a dataclass for a list of such entries
    default: Any  # where nothing is said; None: nothing, or what the model says; dataclasses.MISSING: it must be given
    help: str  # one sentence
    allowed: Range | None  # for a number
    choices: tuple[str, ...]  # for one word of several; empty: any text
    from_model: bool  # None stands for what the model says, and is resolved before a cell is named
    neutral: Any  # the value at which it does nothing, and which cell ids leave out; MISSING: none
    older_default: Any  # of versions before 0.2.0, where nothing was said; MISSING: the same
    axis: bool  # the cells of a grid may differ in it
    row: bool  # a column of the prompt file may override it
    lossy: bool  # where it is not neutral it makes another picture, for speed or for its look
    of_image: bool  # it shapes an image; else it says which images a prompt has
    argument: bool  # a pipeline's call takes it by this name
    label: str  # in the line of settings that image tools read; empty: not there
    is_place: bool  # it may name a file or folder of this machine
    is_prompt: bool  # its text is for a model, and no address, whatever it looks like
    is_mapping: bool  # keys with values, held as their JSON text
    is_part: bool  # it names what is added to a model, which is found and digested as a `Part` of this kind
    is_picture: bool  # it names a picture that an image is made from

    @property
    def is_optional(self) -> bool:
        """Whether a configuration may say null."""
        return self.default is None or self.from_model

    @property
    def has_default(self) -> bool:
        return self.default is not MISSING

    @property
    def is_text(self) -> bool:
        return self.kind is str and not self.is_mapping

    @property
    def is_number(self) -> bool:
        return self.kind in (int, float)

    @property
    def is_list(self) -> bool:
        """Whether its value is a tuple of entries, which a person writes as texts or as keys with values."""
        return is_dataclass(self.kind)

    @property
    def has_neutral(self) -> bool:
        return self.neutral is not MISSING

    def does_something(self, value: object) -> bool:
        return bool(value != self.neutral)


def setting(
    default: Any = MISSING,
    *,
    help: str,
    low: float | None = None,
    high: float = 0,
    multiple: int = 1,
    choices: tuple[str, ...] = (),
    from_model: bool = False,
    neutral: Any = MISSING,
    older_default: Any = MISSING,
    axis: bool = True,
    row: bool = False,
    lossy: bool = False,
    of_image: bool = True,
    argument: bool = False,
    label: str = "",
    is_place: bool = False,
    is_prompt: bool = False,
    is_mapping: bool = False,
    is_part: bool = False,
    is_picture: bool = False,
) -> Any:
    """A field of the table; the parameters are those of `Setting`.

    The dataclass's own default, for values made in code or read from a run that is older than the setting, is the
    neutral value, or the default where there is none; what the model decides and has none has to be given.
    """
    about = {
        "default": default,
        "help": help,
        "allowed": None if low is None else Range(low, high, multiple),
        "choices": choices,
        "from_model": from_model,
        "neutral": neutral,
        "older_default": older_default,
        "axis": axis,
        "row": row,
        "lossy": lossy,
        "of_image": of_image,
        "argument": argument,
        "label": label,
        "is_place": is_place,
        "is_prompt": is_prompt,
        "is_mapping": is_mapping,
        "is_part": is_part,
        "is_picture": is_picture,
    }
    if neutral is not MISSING:
        return field(default=neutral, metadata=about)
    return field(default=MISSING if from_model else default, metadata=about)


def _freeu(features: str, stage: str) -> Any:
    """A factor of "FreeU: Free Lunch in Diffusion U-Net" (Si et al., CVPR 2024); diffusers takes 0 for none of them."""
    return setting(
        1.0,
        neutral=1.0,
        lossy=True,
        low=0.01,
        high=10,
        help=f"FreeU's factor of the {features} features in the {stage} of the UNet's stages going up; 1 in all four: "
        "no FreeU.",
    )


# The table -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelRef:
    """A model as the user names it."""

    repo_id: str = setting(
        is_place=True,
        help="The model: a hub id, a folder, here or at an s3:// address (or gs://, az://), darkroom/demo (embedded) "
        "or darkroom/paint (none).",
    )
    revision: str | None = setting(None, help="Branch, tag or commit of a hub id; null: its main branch.")
    dtype: str = setting(
        "auto",
        choices=("auto", "float32", "float16", "bfloat16", FLOAT8),
        help="Numbers that the model computes with; auto: float32 on a CPU, as stored elsewhere; float8, in attention "
        "and feed-forward layers, is faster and lossy.",
    )
    variant: str | None = setting(None, help="Variant of the weights' files, such as fp16; null: the plain ones.")
    trust_remote_code: bool = setting(False, help="Whether code that the model brings may run on this machine.")
    single_file: str | None = setting(
        None,
        neutral=None,
        is_place=True,
        help="All weights in one .safetensors file, an s3:// address or a hub id with one; repo_id then names a model "
        "of its kind for the configuration, which SD 1.x and SDXL need not. null: repo_id's own weights.",
    )
    loras: tuple[LoraRef, ...] = setting(
        (),
        neutral=(),
        is_place=True,
        is_part=True,
        help="LoRAs, each a .safetensors file, a folder with one, a hub id, an s3:// address, darkroom/sketch or "
        "another embedded one, or {path: ..., weight: 0.8, name: ...}.",
    )
    textual_inversions: tuple[InversionRef, ...] = setting(
        (),
        neutral=(),
        is_place=True,
        is_part=True,
        help="Embeddings of new words, each as a LoRA is given, or {path: ..., token: ...}: the word in prompts.",
    )
    vae: str | None = setting(
        None,
        neutral=None,
        is_place=True,
        is_part=True,
        help="Another VAE for the model: a folder or s3:// address with config.json and safetensors, or of a model; "
        "null: its own.",
    )
    refiner: str | None = setting(
        None,
        neutral=None,
        is_place=True,
        is_part=True,
        help="A second model, such as SDXL's refiner, that finishes what an SDXL model begins: a folder, an s3:// "
        "address or a hub id. LoRAs act on the first alone. null: none.",
    )
    controlnet: str | None = setting(
        None,
        neutral=None,
        is_place=True,
        is_part=True,
        help="A ControlNet of an SD 1.x, SD 2.x or SDXL model, by which sampling.control_image shapes images: a folder "
        "or s3:// address with config.json and safetensors, or a hub id. null: none.",
    )
    gguf: str | None = setting(
        None,
        neutral=None,
        lossy=True,
        is_place=True,
        is_part=True,
        help="Quantized weights of the denoiser in the place of the model's own, by the optional package gguf: a .gguf "
        "file, an s3:// address or a hub id with one; less memory, lossy. null: none.",
    )
    quantization: str = setting(
        NONE,
        neutral=NONE,
        lossy=True,
        choices=(NONE, *QUANTIZATIONS),
        help="Weights of the denoiser's and the text encoders' linear layers in fewer bits, by the optional package "
        "torchao: less memory, lossy.",
    )
    vae_tiling: bool = setting(
        False,
        neutral=False,
        lossy=True,
        help="Whether images larger than the VAE's tiles are decoded tile by tile: less memory, lossy.",
    )
    attention_backend: str | None = setting(
        None,
        neutral=None,
        lossy=True,
        help="How a transformer computes attention, by diffusers' name, such as native, flash, _native_cudnn or sage: "
        "other low bits, and less exact with sage; null: as the model does by itself.",
    )
    vae_slicing: bool = setting(
        False,
        neutral=False,
        axis=False,
        of_image=False,
        help="Whether the images of a batch are decoded one after another: less memory, the same images.",
    )
    offload: str = setting(
        NONE,
        neutral=NONE,
        axis=False,
        of_image=False,
        choices=(NONE, "model", "group", "sequential"),
        help="What waits in the machine's memory until the GPU computes with it: none, whole components (model), or "
        "single layers, the next one of which comes while one computes (group) or not (sequential, which is far "
        "slower); the same images.",
    )
    make: str | None = setting(
        None,
        help="A renderer of one's own, as my_module:make; repo_id and options are then its to read. null: diffusers.",
    )
    options: str | Mapping[str, Any] | None = setting(
        None, is_mapping=True, help="What a renderer of one's own is given besides, as {key: value}."
    )

    def __post_init__(self) -> None:
        if isinstance(self.options, Mapping):
            object.__setattr__(self, "options", mapping_text(self.options))

    @property
    def given_options(self) -> dict[str, Any]:
        """`options`, by their names."""
        return json.loads(str(self.options)) if self.options else {}


@dataclass(frozen=True)
class Sampling:
    """How a prompt becomes images, by diffusers' parameter names."""

    scheduler: str = setting(
        None,
        from_model=True,
        older_default="default",
        row=True,
        label="Sampler",
        help="Sampler by its usual name, such as ddim or dpmpp_2m_karras; default: the one in the model's files; null: "
        "what its card or a LoRA's says, else default.",
    )
    guidance_scale: float = setting(
        None,
        from_model=True,
        older_default=5.0,
        argument=True,
        row=True,
        low=0,
        high=1000,
        label="CFG scale",
        help="Strength of classifier-free guidance; at 1 or below there is none; null: what the model's card says, "
        "else its files or its pipeline.",
    )
    num_inference_steps: int = setting(
        None,
        from_model=True,
        older_default=20,
        argument=True,
        row=True,
        low=1,
        high=10_000,
        label="Steps",
        help="Denoising steps; null: what the model's card says, else its files or its pipeline.",
    )
    height: int = setting(
        None,
        from_model=True,
        argument=True,
        row=True,
        low=8,
        high=16_384,
        multiple=8,
        help="Pixels from top to bottom; null: what the model was made for.",
    )
    width: int = setting(
        None,
        from_model=True,
        argument=True,
        row=True,
        low=8,
        high=16_384,
        multiple=8,
        help="Pixels from left to right; null: what the model was made for.",
    )
    negative_prompt: str = setting(
        "", row=True, is_prompt=True, help="What guidance steers away from; empty: the model's idea of no prompt."
    )
    guidance_start: float = setting(
        0.0, neutral=0.0, lossy=True, low=0, high=1, help="Guidance acts from this share of the steps on."
    )
    guidance_stop: float = setting(
        1.0,
        neutral=1.0,
        lossy=True,
        low=0,
        high=1,
        help="Guidance acts before this share of the steps; steps without it are faster.",
    )
    cache: str = setting(
        NONE,
        neutral=NONE,
        lossy=True,
        choices=(NONE, *CACHES),
        help="How a transformer's steps reuse what earlier ones computed, by diffusers' name: taylorseer and "
        "pyramid_attention_broadcast in attention, taylorseer_lite in all blocks; cache_interval says how long. A UNet "
        "has one way, without a name.",
    )
    cache_interval: int = setting(
        1,
        neutral=1,
        lossy=True,
        low=1,
        high=1000,
        help="Of so many calls of the denoiser one computes all of it, and the others reuse what it gave: a UNet's "
        "deep features, and of a transformer what cache says.",
    )
    freeu_s1: float = _freeu("skip", "first")
    freeu_s2: float = _freeu("skip", "second")
    freeu_b1: float = _freeu("backbone", "first")
    freeu_b2: float = _freeu("backbone", "second")
    guidance_rescale: float = setting(
        0.0,
        neutral=0.0,
        argument=True,
        row=True,
        low=0,
        high=1,
        label="CFG rescale",
        help="How far each step's guided prediction is brought back to the contrast of the one with the prompt alone, "
        "against overexposure; 0: not at all.",
    )
    clip_skip: int = setting(
        0,
        neutral=0,
        argument=True,
        row=True,
        low=0,
        high=11,
        help="Last layers of the CLIP text encoder that prompts, not negative ones, go without; tools that count from "
        "1 say one more.",
    )
    pag_scale: float | None = setting(
        None,
        neutral=None,
        argument=True,
        row=True,
        low=0,
        high=100,
        help="Strength of perturbed-attention guidance, of pipelines that have it; 0: none, null: the pipeline's own.",
    )
    refiner_start: float | None = setting(
        None,
        neutral=None,
        low=0,
        high=1,
        label="Refiner switch at",
        help="The share of the denoising after which the refiner goes on; 1: it does nothing. null: 0.8 where the "
        "model has a refiner.",
    )
    eta: float = setting(
        None,
        from_model=True,
        neutral=0.0,
        argument=True,
        row=True,
        low=0,
        high=1,
        help="Noise that each step of ddim and tcd adds, from none at 0 to that of ddpm at 1; null: what the card of a "
        "TCD LoRA says, else 0.",
    )
    prompt_syntax: str = setting(
        PLAIN,
        neutral=PLAIN,
        row=True,
        choices=(PLAIN, A1111),
        help="How prompts are read. plain: as their text. a1111: (word:1.2), (word) and [word] weight words, of "
        "negative prompts too, and <lora:name:0.8> chooses a LoRA in the place of lora.",
    )
    lora: str = setting(
        "",
        neutral="",
        row=True,
        help="Which of model.loras an image is made with: a name, several joined by +, or none; empty: all of them.",
    )
    lora_weight: float = setting(
        1.0,
        neutral=1.0,
        row=True,
        low=-10,
        high=10,
        help="Factor of the weights of all LoRAs that an image is made with, so that their proportions stay.",
    )
    num_frames: int | None = setting(
        None,
        from_model=True,
        neutral=None,
        argument=True,
        row=True,
        low=1,
        high=10_000,
        label="Frames",
        help="Frames of a video; null: as many as the model was made for, and of a model of images none.",
    )
    fps: int | None = setting(
        None,
        from_model=True,
        neutral=None,
        row=True,
        low=1,
        high=240,
        label="FPS",
        help="Frames a second of a video; LTX is told it as frame_rate. null: what the model was made for.",
    )
    image: str = setting(
        "",
        neutral="",
        row=True,
        is_picture=True,
        help="The picture that an image is made from: a path from images_uri, or an s3:// address (or gs://, az://); "
        "empty: from noise alone.",
    )
    mask_image: str = setting(
        "",
        neutral="",
        row=True,
        is_picture=True,
        help="Where image is painted anew, white, and where its pixels are kept, black: a picture of its size; empty: "
        "all of it changes.",
    )
    strength: float | None = setting(
        None,
        neutral=None,
        argument=True,
        row=True,
        low=0,
        high=1,
        label="Denoising strength",
        help="The share of the steps that image is taken through, from none of them at 0 to as if from noise at 1; "
        "null: the pipeline's own.",
    )
    control_image: str = setting(
        "",
        neutral="",
        row=True,
        is_picture=True,
        help="What model.controlnet shapes an image by, such as edges, depth or a pose, given to it as it is; beside "
        "image, of its size. Empty: nothing does.",
    )
    controlnet_conditioning_scale: float | None = setting(
        None,
        neutral=None,
        argument=True,
        row=True,
        low=0,
        high=10,
        help="How strongly control_image shapes an image; 0: not at all, null: the pipeline's own.",
    )
    control_guidance_start: float = setting(
        0.0,
        neutral=0.0,
        argument=True,
        row=True,
        low=0,
        high=1,
        help="The steps before this share of them are without control_image.",
    )
    control_guidance_end: float = setting(
        1.0,
        neutral=1.0,
        argument=True,
        row=True,
        low=0,
        high=1,
        help="The steps after this share of them are without control_image.",
    )
    image_resize: str = setting(
        RESIZE_NONE,
        neutral=RESIZE_NONE,
        row=True,
        choices=(RESIZE_NONE, RESIZE_SCALE, RESIZE_CROP),
        help="What size an image is made in that has a picture (image, or else control_image). none: the "
        "picture's own, cut at its edges to what the model can make; scale: height and width, which must have the "
        "picture's proportions; crop: height and width, of the picture's middle.",
    )
    images_uri: str | None = setting(
        None,
        neutral=None,
        axis=False,
        of_image=False,
        is_place=True,
        help="The folder or s3:// address that paths of pictures begin at; null: that of the prompt file.",
    )
    num_images_per_prompt: int | None = setting(
        1, neutral=None, row=True, of_image=False, low=1, high=1_000_000, help="Images of every prompt."
    )  # None: as many as the run has
    seed: int | None = setting(
        0,
        neutral=None,
        row=True,
        of_image=False,
        low=0,
        high=NUM_SEEDS - 1,
        help="What the noise of every image is drawn from, together with its prompt's id and its number; a row's own "
        "seed is used as it stands, and counted up for its further images.",
    )  # None: the run's

    @property
    def pictures(self) -> tuple[str, ...]:
        """The settings that name pictures."""
        return tuple(name for name in PICTURES if getattr(self, name))

    @property
    def is_video(self) -> bool:
        """Whether it makes videos, and else images."""
        return self.num_frames is not None

    @property
    def is_guided(self) -> bool:
        """Whether the model sees every image twice, with its prompt and without."""
        return self.guidance_scale > 1

    @property
    def is_partly_guided(self) -> bool:
        return self.is_guided and (self.guidance_start > 0 or self.guidance_stop < 1)

    @property
    def freeu(self) -> dict[str, float]:
        """Arguments of diffusers' `enable_freeu`; none where all of them are 1."""
        factors = {name: getattr(self, f"freeu_{name}") for name in ("s1", "s2", "b1", "b2")}
        return factors if any(factor != 1 for factor in factors.values()) else {}

    @property
    def effective(self) -> dict[str, Value]:
        """Settings by their names, but for those at their neutral value: equal dicts make equal images."""
        return {each.name: value for each, value in self._values() if each.does_something(value)}

    @property
    def lossy(self) -> dict[str, Any]:
        """The settings that make another picture, for speed or for its look, where they do something."""
        return {each.name: value for each, value in self._values() if each.lossy and each.does_something(value)}

    def _values(self) -> list[tuple[Setting, Value]]:
        return [(each, getattr(self, each.name)) for each in settings_of(Sampling)]


def mapping_text(given: Mapping[str, Any]) -> str | None:
    """As a setting holds it: equal mappings, equal text; None for an empty one. Raises TypeError or ValueError."""
    return json.dumps(dict(given), sort_keys=True, ensure_ascii=False, allow_nan=False) if given else None


# Read by others ------------------------------------------------------------------------------------------------------


@cache
def settings_of(table: type) -> tuple[Setting, ...]:
    """The settings of `ModelRef` or `Sampling`, in order."""
    hints = get_type_hints(table)
    return tuple(Setting(name=each.name, kind=_kind(hints[each.name]), **each.metadata) for each in fields(table))


def _kind(hint: Any) -> type:
    """`X` of `X` and of `X | None`."""
    kinds: list[type] = [each for each in get_args(hint) or (hint,) if each is not type(None)]
    return kinds[0]


SETTINGS = {each.name: each for table in (Sampling, ModelRef) for each in settings_of(table)}
IMAGE_SETTINGS = tuple(each for each in settings_of(Sampling) if each.of_image)
ARGUMENTS = tuple(each for each in IMAGE_SETTINGS if each.argument)
ROW_SETTINGS = tuple(each for each in settings_of(Sampling) if each.row)
PICTURES = tuple(each.name for each in settings_of(Sampling) if each.is_picture)
IMAGE, MASK, CONTROL = PICTURES
OLDER_DEFAULTS = {name: each.older_default for name, each in SETTINGS.items() if each.older_default is not MISSING}
NEUTRAL_LOSSY = {each.name: each.neutral for each in settings_of(Sampling) if each.lossy}
PARTS = tuple(each for each in settings_of(ModelRef) if each.is_part)
LOSSY_OF_MODEL = tuple(each for each in settings_of(ModelRef) if each.lossy and not each.is_part)  # of `ModelIdentity`
LOSSY_PARTS = tuple(each.name for each in PARTS if each.lossy)  # kinds of its parts
# How a model is held in memory: no part of its identity, since images stay as they are up to the order of sums.
EXECUTION = tuple(each for each in settings_of(ModelRef) if not each.of_image)
OF_VIDEOS = ("num_frames", "fps")  # None: of a model that makes images
# Of settings that every image has, what they say where its renderer takes no such setting.
UNTAKEN: dict[str, Value] = {"scheduler": "default", "guidance_scale": 1.0, "num_inference_steps": 1}
# Arguments that say something of an image with a picture of this name alone.
OF_IMAGE = ("strength",)
OF_CONTROL = ("controlnet_conditioning_scale", "control_guidance_start", "control_guidance_end")
# What cells most often differ in, in the order that a reader looks at it.
COMMON_AXES = ("guidance_scale", "num_inference_steps", "scheduler")
