"""Asks a server for images by OpenAI's images API, and says of each what became of it.

What a server says of one prompt becomes that image's record: `filtered` where its content policy refuses it, `failed`
where it made none.
"""

import base64
import binascii
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from darkroom.domain.records import ImageRequest
from darkroom.rendering.description import options_of
from darkroom.rendering.http_calls import Reply
from darkroom.rendering.openai_images import Options
from darkroom.rendering.openai_server import OpenAIServer, Unanswered
from darkroom.rendering.renderer import RenderedImage, RendererInfo, RendererSpec

_MOST_PIXELS = 2**27


class ImagesApi:
    """Images of one model at one server, a few at once."""

    def __init__(self, spec: RendererSpec) -> None:
        self._model, self._options = spec.ref.repo_id, options_of(spec.ref, Options)
        self._server = OpenAIServer(self._options.access(self._model))
        self._threads = ThreadPoolExecutor(min(self._options.concurrency, spec.batch_size), "images")
        host = self._server.host
        self.info = RendererInfo(
            f"images API ({host})", "server", spec.batch_size, {}, mixes_guidance=True, device_id=host
        )

    def check_server(self) -> None:
        self._server.check()

    def render(self, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
        return list(self._threads.map(self._image, requests))

    def _image(self, request: ImageRequest) -> RenderedImage:
        reply = self._server.ask("images/generations", self._body(request))
        if isinstance(reply, Unanswered):
            return RenderedImage(None, error=reply.error, is_filtered=reply.is_filtered)
        return _image_of(reply, request, self._options.price)

    def _body(self, request: ImageRequest) -> dict[str, Any]:
        sampling, options = request.sampling, self._options
        body = {
            "model": self._model,
            "prompt": request.prompt,
            "n": 1,
            "size": f"{sampling.width}x{sampling.height}",
            "quality": options.quality,
            "style": options.style,
            "response_format": None if options.response_format == "none" else options.response_format,
            **{name: request.seed if name == "seed" else getattr(sampling, name) for name in options.parameter_names},
        }
        return {name: value for name, value in body.items() if value not in (None, "") or name == "prompt"}


# Replies -------------------------------------------------------------------------------------------------------------


def _image_of(reply: Reply, request: ImageRequest, price: float | None) -> RenderedImage:
    """The first image of a reply; a reply without one is an image that failed."""
    try:
        found = reply.json()
    except ValueError:
        return RenderedImage(None, error="the reply is no JSON", cost=price)
    images = found.get("data") if isinstance(found, dict) else None
    first = images[0] if isinstance(images, list) and images else None
    data = first.get("b64_json") if isinstance(first, dict) else None
    if not isinstance(first, dict) or not isinstance(data, str):
        given = "an address" if isinstance(first, dict) and first.get("url") else "no image"
        return RenderedImage(None, error=f"the reply has {given} and no b64_json", cost=price)
    revised = first.get("revised_prompt")
    notes = {"revised_prompt": revised} if isinstance(revised, str) and revised != request.prompt else {}
    try:
        return RenderedImage(_pixels(data), cost=price, notes=notes)
    except (binascii.Error, ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        return RenderedImage(None, error=f"the reply's image cannot be read ({type(error).__name__})", cost=price)


def _pixels(text: str) -> np.ndarray:
    """(height, width, 3) uint8 RGB of a PNG, WebP or JPEG file in base64."""
    with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=("PNG", "WEBP", "JPEG")) as image:
        if image.width * image.height > _MOST_PIXELS:
            raise ValueError("too many pixels")
        return np.asarray(image.convert("RGB"))
