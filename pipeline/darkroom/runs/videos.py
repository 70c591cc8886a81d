"""Video files: frames to the bytes of an MP4, WebM, animated WebP, GIF or a ZIP of PNGs, and back.

Equal frames and settings give equal bytes by the same software: one thread, key frames at a fixed distance, and
containers without a time, a random number or an encoder's name (FFmpeg's `bitexact`). MP4 and WebM are encoded by PyAV,
an optional package, whose wheel brings FFmpeg's libraries. Their frames are 4:2:0 with BT.709's matrix, limited range,
and the transfer of sRGB, and say so.
"""

import io
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from types import ModuleType
from typing import Any, TypeVar
from uuid import UUID

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from darkroom.domain.errors import DarkroomError, MissingPackage

Found = TypeVar("Found")
_KEY_FRAMES = 24  # from one that stands for itself to the next
_BT709, _SRGB = 1, 13  # ITU-T H.273
_LIMITED, _FULL = 1, 2  # FFmpeg's AVColorRange
_ANIMATED = 2  # a flag of WebP's extended header (RFC 9649, 2.7)
_XMP_BOX = UUID("be7acfcb-97a9-42e8-9c71-999491e3afac").bytes  # XMP specification, part 3, of MP4
# libswscale's SWS_AREA, which averages the four pixels of a colour, and SWS_FULL_CHR_H_INT, SWS_FULL_CHR_H_INP,
# SWS_ACCURATE_RND and SWS_BITEXACT, without which greys come out darker and processors differ.
_INTERPOLATION = 0x20 | 0x2000 | 0x4000 | 0x40000 | 0x80000
_FIRST_DATE = (1980, 1, 1, 0, 0, 0)  # that a ZIP can have


@dataclass(frozen=True)
class Codec:
    """One that PyAV encodes with."""

    name: str  # FFmpeg's
    crf: int  # constant rate factor where none is given; less is larger and better
    most: int  # the highest
    options: Mapping[str, str]


CODECS: Mapping[str, Codec] = {
    # Without `mbtree=0` equal frames gave other bytes now and then, by x264's build 165 in one thread.
    "mp4": Codec("libx264", 18, 51, {"preset": "medium", "sc_threshold": "0", "x264-params": "mbtree=0"}),
    "webm": Codec("libvpx-vp9", 24, 63, {"b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "0"}),
}


@dataclass(frozen=True)
class Shown:
    """How frames are shown, and what the file says of them."""

    fps: int
    comment: str = ""
    xmp: str = ""  # a packet of XMP (ISO 16684-1), which WebM and GIF have no place for


def encode_video(frames: np.ndarray, video_format: str, quality: int, shown: Shown) -> bytes:
    """Encode (num_frames, height, width, 3) uint8 RGB. `quality`: of MP4 and WebM the crf; of WebP 1 to 100."""
    if video_format in CODECS:
        return _by_av(frames, video_format, CODECS[video_format], quality, shown)
    return _OTHERS[video_format](frames, quality, shown)


def is_video(data: bytes) -> bool:
    """Whether a file is an MP4, a WebM, a GIF, a ZIP or an animated WebP."""
    is_webp = data[:4] == b"RIFF" and data[12:16] == b"VP8X" and any(flags & _ANIMATED for flags in data[20:21])
    return is_webp or _is_zip(data) or data.startswith(b"GIF8") or _is_of_av(data)


def video_in(data: bytes) -> bytes:
    """The file, where it is a video."""
    return data if is_video(data) else b""


def frames_of(data: bytes) -> Iterator[np.ndarray]:
    """(height, width, 3) uint8 RGB of every frame, one after another. Raises DarkroomError for what is no video."""
    return _readable(_frames(data))


def middle_frame(data: bytes) -> np.ndarray:
    """The frame that stands for a video: number num_frames // 2, from 0. No other is kept."""
    return next(islice(frames_of(data), num_frames(data) // 2, None))


def some_frames(data: bytes, most: int) -> list[np.ndarray]:
    """So many frames, evenly spaced; all where there are no more."""
    wanted = {*evenly_spaced(num_frames(data), most)}
    return [frame for place, frame in enumerate(frames_of(data)) if place in wanted]


def num_frames(data: bytes) -> int:
    """Without decoding them."""
    return sum(_readable(_counted(data)))


def av() -> ModuleType:
    """PyAV. Raises MissingPackage without it."""
    try:
        import av as found
    except ImportError:
        raise MissingPackage(
            "mp4 and webm need the package av; run `pip install darkroom[video]`, or give "
            "output.video_format=webp, gif or zip"
        ) from None
    found.logging.set_level(None)
    return found


def evenly_spaced(count: int, most: int) -> list[int]:
    """Places of `most` of so many frames, the first and the last among them; of all where there are no more."""
    if count <= most or most == 1:
        return list(range(count)) if count <= most else [count // 2]
    return [round(place * (count - 1) / (most - 1)) for place in range(most)]


# MP4 and WebM --------------------------------------------------------------------------------------------------------


def _by_av(frames: np.ndarray, container_format: str, codec: Codec, crf: int, shown: Shown) -> bytes:
    library, buffer = av(), io.BytesIO()
    with library.open(buffer, "w", format=container_format, container_options={"fflags": "+bitexact"}) as container:
        if shown.comment:
            container.metadata["comment"] = shown.comment
        stream = container.add_stream(codec.name, rate=shown.fps, options={"crf": str(crf), **codec.options})
        _set_up(stream.codec_context, frames, shown.fps)
        for number, pixels in enumerate(frames):
            container.mux(stream.encode(_yuv(library, pixels, number, shown.fps)))
        container.mux(stream.encode())
    found = buffer.getvalue()
    return found + _box(shown.xmp) if container_format == "mp4" else found


def _set_up(context: Any, frames: np.ndarray, fps: int) -> None:
    _, context.height, context.width, _ = frames.shape
    context.pix_fmt, context.thread_count, context.gop_size = "yuv420p", 1, _KEY_FRAMES
    context.time_base = Fraction(1, fps)
    context.color_range, context.colorspace = _LIMITED, _BT709
    context.color_primaries, context.color_trc = _BT709, _SRGB
    context.flags |= _bitexact()


def _bitexact() -> int:
    from av.codec.context import Flags

    return int(Flags.bitexact)


def _yuv(library: ModuleType, pixels: np.ndarray, number: int, fps: int) -> Any:
    frame = library.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    found = frame.reformat(
        format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED, interpolation=_INTERPOLATION, threads=1
    )
    found.pts, found.time_base = number, Fraction(1, fps)
    return found


def _box(xmp: str) -> bytes:
    """An MP4's own place for XMP, at the end of the file."""
    data = xmp.encode("utf-8", "replace")
    return struct.pack(">I4s", 24 + len(data), b"uuid") + _XMP_BOX + data if data else b""


# Animated pictures, and pictures in a ZIP -----------------------------------------------------------------------------


def _webp(frames: np.ndarray, quality: int, shown: Shown) -> bytes:
    about = {"xmp": shown.xmp.encode("utf-8", "replace")} if shown.xmp else {}
    return _animated(frames, "WEBP", shown, quality=quality, minimize_size=False, **about)


def _gif(frames: np.ndarray, _: int, shown: Shown) -> bytes:
    """In 256 colours a frame."""
    about = {"comment": shown.comment.encode("utf-8", "replace")} if shown.comment else {}
    return _animated(frames, "GIF", shown, optimize=False, disposal=1, **about)


def _animated(frames: np.ndarray, pil_format: str, shown: Shown, **options: Any) -> bytes:
    """Shown again and again. Pillow joins frames that are equal, so each of those is told apart by its duration."""
    buffer, (first, *others) = io.BytesIO(), [Image.fromarray(pixels) for pixels in frames]
    duration = round(1000 / shown.fps)
    first.save(buffer, pil_format, save_all=True, append_images=others, duration=duration, loop=0, **options)
    return buffer.getvalue()


def _zip(frames: np.ndarray, _: int, shown: Shown) -> bytes:
    """PNGs 00000.png, 00001.png, ..., stored as they are; the first says what the file says."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as container:
        for number, pixels in enumerate(frames):
            about, data = PngInfo(), io.BytesIO()
            for keyword, text in {"parameters": shown.comment, "XML:com.adobe.xmp": shown.xmp}.items():
                if text and number == 0:
                    about.add_itxt(keyword, text.replace("\0", "\N{REPLACEMENT CHARACTER}"))
            Image.fromarray(pixels).save(data, "PNG", compress_level=1, pnginfo=about)
            container.writestr(zipfile.ZipInfo(f"{number:05d}.png", _FIRST_DATE), data.getvalue())
    return buffer.getvalue()


_OTHERS: Mapping[str, Callable[[np.ndarray, int, Shown], bytes]] = {"webp": _webp, "gif": _gif, "zip": _zip}
VIDEO_FORMATS = (*CODECS, *_OTHERS)


# Reading -------------------------------------------------------------------------------------------------------------


def _is_of_av(data: bytes) -> bool:
    return data[4:8] == b"ftyp" or data.startswith(b"\x1aE\xdf\xa3")


def _is_zip(data: bytes) -> bool:
    return data.startswith(b"PK\x03\x04")


def _frames(data: bytes) -> Iterator[np.ndarray]:
    if _is_zip(data):
        with zipfile.ZipFile(io.BytesIO(data)) as container:
            for name in sorted(container.namelist()):
                with Image.open(io.BytesIO(container.read(name)), formats=("PNG",)) as image:
                    yield np.asarray(image.convert("RGB"))
    elif _is_of_av(data):
        with av().open(io.BytesIO(data)) as container:
            for frame in container.decode(video=0):
                shown = frame.reformat(format="rgb24", interpolation=_INTERPOLATION, dst_color_range=_FULL, threads=1)
                yield shown.to_ndarray()
    else:
        with Image.open(io.BytesIO(data), formats=("WEBP", "GIF")) as image:
            for number in range(_num_frames(image)):
                image.seek(number)
                yield np.asarray(image.convert("RGB"))


def _counted(data: bytes) -> Iterator[int]:
    """Ones, or their sum."""
    if _is_zip(data):
        yield len(zipfile.ZipFile(io.BytesIO(data)).namelist())
    elif _is_of_av(data):
        with av().open(io.BytesIO(data)) as container:
            yield from (packet.size > 0 for packet in container.demux(video=0))
    else:
        with Image.open(io.BytesIO(data), formats=("WEBP", "GIF")) as image:
            yield _num_frames(image)


def _readable(found: Iterator[Found]) -> Iterator[Found]:
    """The same, with DarkroomError for whatever decoders raise."""
    try:
        yield from found
    except DarkroomError:
        raise
    except Exception as error:
        raise DarkroomError(f"not readable as a video ({type(error).__name__}); is the file whole?") from error


def _num_frames(image: Image.Image) -> int:
    """Of a file with one frame, whose class may say nothing of frames, 1."""
    return int(getattr(image, "n_frames", 1))
