"""Asks a server for images by OpenAI's images API, and says of each what became of it.

What a server says of one prompt becomes that image's record: `filtered` where its content policy refuses it, `failed`
where it made none. What every other prompt would meet too (no connection, no right, no such model, no credit) ends the
job, and the same command goes on where it was.
"""

import base64
import binascii
import io
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from darkroom.domain.errors import DarkroomError, EndsRun, TryAgain
from darkroom.domain.records import ImageRequest
from darkroom.rendering.description import options_of
from darkroom.rendering.http_calls import NoReply, Reply, call, patient_call
from darkroom.rendering.openai_images import Options, key_of
from darkroom.rendering.renderer import RenderedImage, RendererInfo, RendererSpec

# Codes of errors by which servers refuse for their content policy: OpenAI's DALL-E, its GPT Image, and Azure's.
_FILTERED = frozenset({"content_policy_violation", "moderation_blocked", "content_filter", "contentFilter"})
_NO_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_MOST_PIXELS = 2**27
_FAILURES_IN_A_ROW = 24  # images, after which the server and not a prompt is to blame


class ServerRefusal(DarkroomError, EndsRun):
    """What no prompt changes: a key, a model or an address that is wrong."""


class ServerGone(TryAgain, EndsRun):
    """It cannot be reached, or makes no image any more: later it may."""


class ImagesApi:
    """Images of one model at one server, a few at once."""

    def __init__(self, spec: RendererSpec) -> None:
        self._model, self._options = spec.ref.repo_id, options_of(spec.ref, Options)
        self._url = self._options.base_url.rstrip("/")
        self._key = key_of(self._options)
        self._threads = ThreadPoolExecutor(min(self._options.concurrency, spec.batch_size), "images")
        self._counting, self._num_failures = threading.Lock(), 0  # images in a row that the server failed
        host = urlsplit(self._url).netloc
        self.info = RendererInfo(
            f"images API ({host})", "server", spec.batch_size, {}, mixes_guidance=True, device_id=host
        )

    def check_server(self) -> None:
        """By a call that costs nothing; a server without it is not refused."""
        try:
            reply = patient_call(lambda: self._call("models", None), min(2, self._options.max_attempts))
        except NoReply as error:
            raise self._gone(error) from None
        if reply.status in (401, 403):
            raise self._no_right(reply)

    def render(self, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
        return list(self._threads.map(self._image, requests))

    def _image(self, request: ImageRequest) -> RenderedImage:
        try:
            reply = patient_call(
                lambda: self._call("images/generations", self._body(request)),
                self._options.max_attempts,
                passes=_passes,
            )
        except NoReply as error:
            if error.is_unreachable:
                raise self._gone(error) from None
            return self._failed(str(error))
        if reply.status != 200:
            return self._refused(reply)
        self._count(False)
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

    def _call(self, path: str, body: Mapping[str, Any] | None) -> Reply:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        return call(f"{self._url}/{path}", body, headers, self._options.timeout_s)

    # Replies without an image --------------------------------------------------------------------------------------

    def _refused(self, reply: Reply) -> RenderedImage:
        code, said = _error_of(reply)
        text = f"{reply.status}, {said}" if said else str(reply.status)
        if code in _FILTERED:
            self._count(False)
            return RenderedImage(None, error=self._without_key(f"refused ({code}): {said}"), is_filtered=True)
        if code in _NO_CREDIT:
            raise ServerGone(self._without_key(f"{self._url}: no image is made for this account any more ({text})"))
        if reply.status in (401, 403):
            raise self._no_right(reply)
        if reply.status == 404 or 300 <= reply.status < 400:
            raise ServerRefusal(
                self._without_key(
                    f"{self._url}/images/generations answers {text}; check model.options.base_url and model.repo_id"
                    f"={self._model}"
                )
            )
        if reply.is_transient:
            return self._failed(f"it answered {text}, {self._options.max_attempts} times")
        return RenderedImage(None, error=self._without_key(f"the server refuses this request: {text}"))

    def _failed(self, reason: str) -> RenderedImage:
        """An image that the server did not make. Raises ServerGone after many in a row."""
        if self._count(True) >= _FAILURES_IN_A_ROW:
            raise ServerGone(
                self._without_key(
                    f"{self._url}: {_FAILURES_IN_A_ROW} images in a row failed, the last as {reason}; once it works "
                    "again, the same command goes on"
                )
            )
        return RenderedImage(None, error=self._without_key(f"the server failed: {reason}"))

    def _count(self, is_failure: bool) -> int:
        """Failures in a row."""
        with self._counting:
            self._num_failures = self._num_failures + 1 if is_failure else 0
            return self._num_failures

    def _gone(self, error: NoReply) -> ServerGone:
        return ServerGone(f"{self._url} cannot be reached ({error}); start the server, and the same command goes on")

    def _no_right(self, reply: Reply) -> ServerRefusal:
        variable, said = self._options.key_variable, _error_of(reply)[1]
        remedy = f"check the key in {variable}" if variable else "name its variable as model.options.key_variable=..."
        return ServerRefusal(self._without_key(f"{self._url} answers {reply.status}, {said or 'no right'}; {remedy}"))

    def _without_key(self, text: str) -> str:
        """A server may repeat what it was sent."""
        return text.replace(self._key, "***") if self._key else text


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


def _passes(reply: Reply) -> bool:
    return reply.is_transient and _error_of(reply)[0] not in _FILTERED | _NO_CREDIT


def _error_of(reply: Reply) -> tuple[str | None, str]:
    """(code, message) of an error, as OpenAI writes them; empty where they are written otherwise."""
    try:
        found = reply.json()
    except ValueError:
        return None, _line(reply.data.decode("utf-8", "replace"))
    error = found.get("error", found) if isinstance(found, dict) else found
    if not isinstance(error, dict):
        return None, _line(str(error))
    code, message = error.get("code"), error.get("message") or error.get("detail") or ""
    return code if isinstance(code, str) else None, _line(str(message))


def _line(text: str) -> str:
    """In one line, and no page."""
    return " ".join(text.split())[:300]
