"""Pictures that images are made from: files of others decoded to 8-bit RGB, masks to black and white, both fitted.

A picture is turned as its Exif says, 16 bits are scaled to 8, gray becomes RGB, and what is transparent is laid on
white. Colour profiles are not applied, as diffusers applies none. What is animated, too large or broken is refused.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from darkroom.domain.errors import first_line
from darkroom.domain.settings import CONTROL, IMAGE, MASK, RESIZE_NONE, RESIZE_SCALE, SETTINGS, Sampling
from darkroom.runs.encoding import MAX_PIXELS, pixels_digest
from darkroom.storage.named_files import NamedPlace, Unreadable

MOST_BYTES = 2**28  # of a file
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
_WHITE = 255
_PAINTED = 128  # of a mask's gray, from which on a pixel is painted, as diffusers rounds it
_FIELDS = {IMAGE: "image", MASK: "mask", CONTROL: "control"}  # of `Decoded`
_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")

Size = tuple[int, int]  # height, width


@dataclass(frozen=True, eq=False)
class Decoded:
    """The pictures of an image, of one size; it has the first or the last of them."""

    image: np.ndarray | None = None  # (height, width, 3) uint8 RGB
    mask: np.ndarray | None = None  # (height, width) uint8, 255 where it is painted and 0 where it is kept
    control: np.ndarray | None = None  # (height, width, 3) uint8 RGB

    @property
    def size(self) -> Size:
        height, width = next(iter(self.pixels.values())).shape[:2]
        return height, width

    @cached_property
    def pixels(self) -> dict[str, np.ndarray]:
        """By the names of the settings."""
        found = {name: getattr(self, each) for name, each in _FIELDS.items()}
        return {name: pixels for name, pixels in found.items() if pixels is not None}

    @property
    def digests(self) -> dict[str, str]:
        return {name: pixels_digest(pixels) for name, pixels in self.pixels.items()}


def read(place: NamedPlace, sampling: Sampling) -> Decoded:
    """The pictures that an image's settings name. Raises Unreadable; StoreError where a store fails."""
    found = Decoded()
    for name in sampling.pictures:
        with _named(sampling, name):
            data = place.read(getattr(sampling, name), MOST_BYTES)
            found = joined(found, name, decoded_mask(data) if name == MASK else decoded(data))
    return found


@contextmanager
def _named(sampling: Sampling, name: str) -> Iterator[None]:
    try:
        yield
    except Unreadable as error:
        raise Unreadable(f"{name}={getattr(sampling, name)}: {error}") from error


def decoded(data: bytes) -> np.ndarray:
    """(height, width, 3) uint8 RGB of an image file. Raises Unreadable, without reading pixels of what is too large."""
    with _opened(data) as image:
        return np.asarray(_on_white(image).convert("RGB"))


def decoded_mask(data: bytes) -> np.ndarray:
    """(height, width) uint8, 255 where a mask is at least half white, and 0 elsewhere. Raises Unreadable."""
    with _opened(data) as image:
        if _has_alpha(image) and np.asarray(image.convert("RGBA"))[..., 3].min() < _WHITE:
            raise Unreadable("it has transparent pixels, which say neither white nor black; save it without alpha")
        gray = np.asarray(image.convert("L"))
    return np.where(gray >= _PAINTED, np.uint8(_WHITE), np.uint8(0))


def joined(found: Decoded, name: str, pixels: np.ndarray) -> Decoded:
    """With another picture, by its setting's name, checked against the first. Raises Unreadable."""
    if found.pixels and pixels.shape[:2] != found.size:
        raise Unreadable(
            f"it has {_said(pixels.shape[:2])} pixels and its image {_said(found.size)}; give one of that size"
        )
    if name == MASK and not pixels.any():
        raise Unreadable("it is black: nothing of the image is painted; leave the row out")
    return replace(found, **{_FIELDS[name]: pixels})


def sized(found: Decoded, sampling: Sampling, unit: int) -> Sampling:
    """With the size of the image that is made from it; `unit`: what its sides are a multiple of.

    Raises Unreadable where none can be made.
    """
    if sampling.image_resize != RESIZE_NONE:
        return sampling
    height, width = (side // unit * unit for side in found.size)
    allowed = SETTINGS["height"].allowed
    if allowed and height in allowed and width in allowed:
        return replace(sampling, height=height, width=width)
    with _named(sampling, next(iter(found.pixels))):
        raise Unreadable(
            f"it has {_said(found.size)} pixels, and images from {allowed}; give image_resize=scale or crop"
        )


def fitted(found: Decoded, sampling: Sampling) -> Decoded:
    """In that size, by `image_resize`. Raises Unreadable where it has another shape."""
    size = sampling.height, sampling.width
    with _named(sampling, next(iter(found.pixels))):
        if sampling.image_resize == RESIZE_NONE:
            return _cut(found, size)
        if sampling.image_resize == RESIZE_SCALE and not _have_one_shape(found.size, size):
            raise Unreadable(
                f"it has {_said(found.size)} pixels, and {_said(size)} is of another shape; give its height and width, "
                "or image_resize=crop"
            )
        return _scaled(found, size)


def _cut(found: Decoded, size: Size) -> Decoded:
    top, left = ((there - wanted) // 2 for there, wanted in zip(found.size, size, strict=True))
    if top < 0 or left < 0:
        raise Unreadable(f"it has {_said(found.size)} pixels, and the image {_said(size)}")
    part = np.s_[top : top + size[0], left : left + size[1]]
    return _each(found, lambda _, pixels: pixels[part])


def _scaled(found: Decoded, size: Size) -> Decoded:
    if size == found.size:
        return found

    def scaled(name: str, pixels: np.ndarray) -> np.ndarray:
        by = Image.Resampling.NEAREST if name == MASK else Image.Resampling.LANCZOS
        return np.asarray(ImageOps.fit(Image.fromarray(pixels), (size[1], size[0]), by))

    return _each(found, scaled)


def _each(found: Decoded, change: Callable[[str, np.ndarray], np.ndarray]) -> Decoded:
    return Decoded(**{_FIELDS[name]: change(name, pixels) for name, pixels in found.pixels.items()})


def _have_one_shape(one: Size, other: Size) -> bool:
    """To the pixel."""
    return abs(one[0] * other[1] / one[1] - other[0]) < 1 or abs(one[1] * other[0] / one[0] - other[1]) < 1


def _said(size: Size) -> str:
    return f"{size[1]}x{size[0]}"


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """Turned as its Exif says, of 8 bits. Raises Unreadable, also for what fails while it is used."""
    Image.init()  # not all formats are known before
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Unreadable(
                    f"it has {_said((image.height, image.width))} pixels, and at most {MAX_PIXELS} are read"
                )
            if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # whose further frames are views of it
                raise Unreadable("it is animated, or has several pages; save one of them")
            image.load()
            yield ImageOps.exif_transpose(_of_8_bits(image))
    except Unreadable:
        raise
    except UnidentifiedImageError as error:  # whose words name an object in memory
        raise Unreadable(f"not readable as an image, which may be {', '.join(_FORMATS)}") from error
    except Exception as error:  # Pillow raises what its decoders raise
        raise Unreadable(f"not readable as an image ({type(error).__name__}: {first_line(error)})") from error


def _of_8_bits(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise Unreadable("its pixels are fractions, whose white is not known; save it with 8 or 16 bits")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    levels = np.asarray(image).astype(np.int64)
    if levels.min() < 0 or levels.max() > 65_535:
        raise Unreadable("its pixels have more than 16 bits; save it with 8 or 16")
    scaled = Image.fromarray(((levels + 128) // 257).astype(np.uint8))
    scaled.info = dict(image.info)
    return scaled


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in _WITH_ALPHA or "transparency" in image.info


def _on_white(image: Image.Image) -> Image.Image:
    if not _has_alpha(image):
        return image
    whole = image.convert("RGBA")
    ground = Image.new("RGBA", whole.size, (_WHITE,) * 4)
    return Image.alpha_composite(ground, whole)
