"""A renderer that asks a server for its images: `model=openai_images`, and the worked example of one of one's own.

It speaks the images API of OpenAI (POST /images/generations, https://platform.openai.com/docs/api-reference/images),
which vLLM-Omni and SGLang serve too, with seed, negative_prompt, guidance_scale and num_inference_steps beside
(https://docs.vllm.ai/projects/vllm-omni/en/stable/serving/image_generation_api/). A key is read from the environment
of the worker that uses it and kept nowhere else.

Here are its options and what it says of itself, which need nothing but Python; `images_api.py` makes the calls.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import ModelRef, setting
from darkroom.rendering.description import SIZE, Description, described_by, options_of
from darkroom.rendering.server_access import ServerAccess

if TYPE_CHECKING:
    from darkroom.rendering.renderer import Renderer, RendererSpec

REVISION = "openai-images-1"  # change it when what is asked for changes
PARAMETERS = ("seed", "negative_prompt", "guidance_scale", "num_inference_steps")  # that not every server takes
USUAL_SIDE = 1024
_WORDS = re.compile(r"[,\s]+")


@dataclass(frozen=True)
class Options:
    """What `model.options` may have."""

    base_url: str = setting(is_place=True, help="Address of the API, such as http://127.0.0.1:8000/v1.")
    key_variable: str | None = setting(
        None,
        is_place=True,
        of_image=False,
        help="The environment variable that holds the key, such as OPENAI_API_KEY; null: none is sent.",
    )
    parameters: str = setting(
        "",
        help=f"Which of {', '.join(PARAMETERS)} the server takes, such as seed,guidance_scale; without seed, "
        "no promise is made about seeds.",
    )
    sizes: str = setting("", help="Sizes that it makes, such as 1024x1024,1536x1024, the usual one first; empty: any.")
    quality: str | None = setting(None, help="Sent as quality; null: not sent.")
    style: str | None = setting(None, help="Sent as style; null: not sent.")
    response_format: str = setting(
        "b64_json",
        choices=("b64_json", "none"),
        of_image=False,
        help="Sent as response_format; none: not sent, as the GPT Image models want it, which answer b64_json anyway.",
    )
    concurrency: int = setting(
        8, of_image=False, low=1, high=1024, help="Images that a worker asks for at once, within engine.batch_size."
    )
    timeout_s: float = setting(300.0, of_image=False, low=1, high=86_400, help="Seconds to wait for an image.")
    max_attempts: int = setting(
        6, of_image=False, low=1, high=100, help="Tries at an image while the server is busy, failing or silent."
    )
    price: float | None = setting(
        None, of_image=False, low=0, high=1_000_000, help="Of an image, in any currency; records and summary add it up."
    )

    def access(self, model: str) -> ServerAccess:
        patience = (self.timeout_s, self.max_attempts)
        return ServerAccess(self.base_url, self.key_variable, *patience, "model.options", f"model.repo_id={model}")

    @property
    def parameter_names(self) -> tuple[str, ...]:
        return tuple(filter(None, _WORDS.split(self.parameters)))

    @property
    def known_sizes(self) -> tuple[tuple[int, int], ...]:
        """(height, width). Raises ValueError where one is none."""
        pairs = (word.lower().split("x") for word in _WORDS.split(self.sizes) if word)
        return tuple((int(height), int(width)) for width, height in pairs)


# What it says of itself ----------------------------------------------------------------------------------------------


def describe(ref: ModelRef) -> Description:
    """Of the model that is named. Raises DarkroomError for options that cannot be."""
    options = options_of(ref, Options)
    if not ref.repo_id:
        raise DarkroomError("model.repo_id has no value; give the model's name at the server, such as gpt-image-1")
    options.access(ref.repo_id).check()
    unknown = next((name for name in options.parameter_names if name not in PARAMETERS), None)
    if unknown is not None:
        raise DarkroomError(f"model.options.parameters: {unknown!r} is none; give some of {', '.join(PARAMETERS)}")
    try:
        sizes = options.known_sizes
    except ValueError:
        raise DarkroomError(f"model.options.sizes={options.sizes}: give widthxheight, such as 1024x1024") from None
    height, width = sizes[0] if sizes else (USUAL_SIDE, USUAL_SIDE)
    return Description(
        name=ref.repo_id,
        takes=(*SIZE, "revision", *(name for name in options.parameter_names if name != "seed")),
        defaults={"height": height, "width": width},
        sizes=sizes,
        revision=REVISION,
        dtype="server",
        is_seeded="seed" in options.parameter_names,
        price=options.price,
        is_tried=False,
    )


@described_by(describe, Options)
def make(spec: "RendererSpec") -> "Renderer":
    """Raises DarkroomError where the server cannot be reached, or refuses the key."""
    from darkroom.rendering.images_api import ImagesApi

    found = ImagesApi(spec)
    found.check_server()
    return found
