"""What is known of a pipeline class: how it is guided, what its text depends on, its sizes, its schedulers.

Equal names hide different meanings from class to class. Plain data: this module needs no torch.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum

Size = tuple[int, int]  # (height, width)
# Pipelines whose steps Darkroom controls: guidance by image and by step, cached features, shared work.
STEERED = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")


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


class Latents(Enum):
    """What a step's latents are to the VAE's decoder, but for the factors in its config."""

    PLAIN = "plain"  # what it takes
    PACKED = "packed"  # patches of 2x2 in a row, (N, patches, 4 * C), which the pipeline's `_unpack_latents` lays out
    OTHER = "other"  # something else, or not known


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
    latents: Latents = Latents.PLAIN
    frames_unit: int | None = None  # of a video: its frames are a multiple of it and one more; None: it makes images
    fps: int | None = None  # frames a second that its videos were trained at
    fps_argument: str | None = None  # by which a call is told them; None: it is not
    img2img: str | None = None  # the class that makes images from pictures with this one's networks
    inpaint: str | None = None  # the same where a mask keeps a part of the picture
    controlnets: tuple[str, str, str] | None = None  # classes whose images a ControlNet shapes: made from noise, from
    # pictures, and from pictures with masks
    is_proved: bool = True  # false: a class that is not in the table

    def task_class(self, pictures: Collection[str]) -> str | None:
        """Of images that are made from pictures of these names, by the settings that name them."""
        is_masked = "mask_image" in pictures
        if "control_image" not in pictures:
            return self.inpaint if is_masked else self.img2img
        return self.controlnets[2 if is_masked else 1 if "image" in pictures else 0] if self.controlnets else None


UNPROVED = Family(is_proved=False, mixes_loras=False, latents=Latents.OTHER)
