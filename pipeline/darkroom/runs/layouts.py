"""What of an image is stored, and where: an object of its own, or a member of a WebDataset tar or of a Parquet file.

Every put is conditional. Who comes second adopts bytes that are equal to its own. Where others lie under the key, such
as those of another batch size or of a copy that broke off, its own go under a key that has their digest in it: so a
record describes the attempt that made its bytes, and no attempt changes what another one may be about to commit.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from xml.sax.saxutils import escape

import numpy as np
import pyarrow as pa

from darkroom.domain.adapters import LORAS, parts_used
from darkroom.domain.identity import ModelIdentity
from darkroom.domain.prompt_syntax import as_a1111, without_tags
from darkroom.domain.records import ImageRequest, Sample, picture_digests
from darkroom.domain.settings import IMAGE, SETTINGS, UNTAKEN
from darkroom.runs.encoding import (
    CONTENT_TYPES,
    EXTENSIONS,
    SIDECAR,
    EncodedImage,
    FileText,
    Indexed,
    encode,
    index_parquet,
    index_tar,
    write_parquet,
    write_tar,
    write_ustar,
)
from darkroom.runs.files import container_key, image_key, sidecars_key, trajectory_key
from darkroom.runs.run import OutputInfo
from darkroom.runs.signing import CONTENT_TYPE as C2PA_TYPE
from darkroom.runs.signing import EDITED_BY_MODEL, MADE_BY_MODEL
from darkroom.runs.videos import Shown, encode_video
from darkroom.storage.store import NotFound, Store


@dataclass(frozen=True, slots=True)
class Placed:
    """Where one image's bytes lie, and what they are."""

    key: str
    member: str | None
    offset: int | None
    sha256: str
    size_bytes: int
    superseded: str | None  # key of other bytes, which nothing names once this attempt has committed


@dataclass(frozen=True)
class Layout:
    """How one kind of container is written and read back; none for one object an image."""

    extension: str
    content_type: str
    write: Callable[[Sequence[EncodedImage], pa.Table | None], bytes]  # of images, with columns of their own
    index: Callable[[bytes], dict[str, Indexed]]


CONTAINERS: Mapping[str, Layout] = {
    "webdataset": Layout("tar", "application/x-tar", write_tar, index_tar),
    "parquet": Layout("parquet", "application/vnd.apache.parquet", write_parquet, index_parquet),
}
LAYOUTS = ("files", *CONTAINERS)
_XML_FORBIDS, _REPLACED = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"), "\N{REPLACEMENT CHARACTER}"
_KEPT = {"\r": "&#13;"}  # which XML takes for a line's end
_LONGEST_PROMPT = 8000  # characters in XMP, which a JPEG holds up to some 65,000 bytes of
_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:iptc="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
    '<xmp:CreatorTool>Darkroom</xmp:CreatorTool>{}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)
_FIRST_LABELS = ("Steps", "Sampler", "CFG scale")  # of settings, in the line that image tools read


# What is stored of an image ----------------------------------------------------------------------------------------


def encode_image(
    request: ImageRequest,
    pixels: np.ndarray,
    model: ModelIdentity,
    output: OutputInfo,
    scheduler: str | None = None,
) -> EncodedImage:
    """An image's file and what is stored beside it, of (height, width, 3) uint8 RGB: a function of the arguments. Of
    a video the same, of (num_frames, height, width, 3).

    `scheduler`: JSON with its class and options as they were loaded, where it is known.
    """
    settings, line = settings_json(request, model, scheduler), parameters_line(request, model, scheduler)
    text = FileText({"parameters": line, "darkroom": settings})
    if output.provenance:
        text = replace(text, comment=line, xmp=xmp_packet(request, model))
    if request.sampling.is_video:
        shown = Shown(request.sampling.fps or 1, text.comment, text.xmp)
        return _encoded(request, encode_video(pixels, output.image_format, output.quality, shown), settings, output)
    return _encoded(request, encode(pixels, output.image_format, output.quality, text), settings, output)


def encode_trajectory(pixels: np.ndarray, steps: str) -> bytes:
    """A PNG of (height, width, 3) uint8 RGB; `steps`: its columns, as JSON."""
    return encode(pixels, "png", 0, FileText({"darkroom": steps}))


def as_encoded(
    request: ImageRequest, data: bytes, model: ModelIdentity, output: OutputInfo, scheduler: str | None = None
) -> EncodedImage:
    """An image that is a file already, with what is stored beside it."""
    return _encoded(request, data, settings_json(request, model, scheduler), output)


def _encoded(request: ImageRequest, data: bytes, settings: str, output: OutputInfo) -> EncodedImage:
    return EncodedImage(request.image_id, data, EXTENSIONS[output.image_format], request.prompt, settings)


def as_rendered(sample: Sample, pixels: np.ndarray) -> Sample:
    """The sample with the size that its image has, and the frames: some pipelines round what they are asked for."""
    request, asked, (*frames, height, width, _) = sample.request, sample.request.sampling, pixels.shape
    num_frames = frames[0] if frames else None
    if (height, width, num_frames) == (asked.height, asked.width, asked.num_frames):
        return sample
    sampling = replace(asked, height=height, width=width, num_frames=num_frames)
    return replace(sample, request=replace(request, sampling=sampling))


def _settings(request: ImageRequest, model: ModelIdentity, scheduler: str | None) -> dict[str, object]:
    """What this image is a function of. No time, machine or run: equal images give equal files."""
    parts = [part.facts for part in parts_used(model.parts, request.adapters)]
    return {
        "image_id": request.image_id,
        "prompt": request.prompt,
        **model.said_of(request.sampling),
        "seed": request.seed,
        "model": model.repo_id,
        "model_revision": model.revision,
        "dtype": model.dtype,
        **model.lossy,
        **picture_digests(request),
        **({"model_parts": parts} if parts else {}),
        **({"scheduler_config": json.loads(scheduler)} if scheduler else {}),
    }


def settings_json(request: ImageRequest, model: ModelIdentity, scheduler: str | None = None) -> str:
    return json.dumps(_settings(request, model, scheduler), ensure_ascii=False, sort_keys=True)


def parameters_line(request: ImageRequest, model: ModelIdentity, scheduler: str | None = None) -> str:
    """The settings in the layout that AUTOMATIC1111's tools write and most image browsers read.

    There a LoRA is said in the prompt with its weight, and the first 12 digits of its file's SHA-256 in a list. The
    model's own scheduler goes by its class, where that is known.
    """
    sampling = request.sampling
    loras = [part for part in parts_used(model.parts, request.adapters) if part.kind == LORAS]
    tags = "".join(f" <lora:{part.name}:{part.weight:g}>" for part in loras)
    hashes = ", ".join(f"{part.name}: {part.revision.removeprefix('sha256:')[:12]}" for part in loras)
    labelled = {SETTINGS[name].label: value for name, value in model.said_of(sampling).items() if SETTINGS[name].label}
    if scheduler and sampling.scheduler == UNTAKEN["scheduler"]:
        labelled[SETTINGS["scheduler"].label] = json.loads(scheduler)["_class_name"]
    fields = {
        **{label: labelled.pop(label) for label in _FIRST_LABELS if label in labelled},
        "Seed": request.seed,
        "Size": f"{sampling.width}x{sampling.height}",
        "Model": json.dumps(model.repo_id) if set(model.repo_id) & set(',:"\n') else model.repo_id,
        "Model hash": model.revision.removeprefix("sha256:")[:10],
        **labelled,
        **({"Lora hashes": f'"{hashes}"'} if loras else {}),
    }
    prompt, negative = (as_a1111(text, sampling.prompt_syntax) for text in (request.prompt, sampling.negative_prompt))
    prompt = without_tags(prompt, sampling.prompt_syntax) if loras else prompt
    negative = f"\nNegative prompt: {negative}" if negative else ""
    return prompt + tags + negative + "\n" + ", ".join(f"{name}: {value}" for name, value in fields.items())


def xmp_packet(request: ImageRequest, model: ModelIdentity) -> str:
    """Says in XMP that the image was made by a model, by which, of which prompt: IPTC Photo Metadata 2025.1."""
    about = {
        "DigitalSourceType": EDITED_BY_MODEL if request.picture(IMAGE) is not None else MADE_BY_MODEL,
        "AISystemUsed": model.repo_id,
        **({"AIPromptInformation": request.prompt} if len(request.prompt) <= _LONGEST_PROMPT else {}),
    }
    said = "".join(
        f"<iptc:{name}>{escape(_XML_FORBIDS.sub(_REPLACED, text), _KEPT)}</iptc:{name}>" for name, text in about.items()
    )
    return _PACKET.format(said)


# Where it is stored ------------------------------------------------------------------------------------------------


def place_image(store: Store, image: EncodedImage, image_format: str, suffix: str = "") -> Placed:
    """Store one image as an object of its own."""
    names = _names(f"{image.image_id}{suffix}", _digest(image.data))
    keys = [image_key(name, image.extension) for name in names]
    return _object(image.data, *_put(store, keys, image.data, CONTENT_TYPES[image_format]))


def place_trajectory(store: Store, image_id: str, data: bytes, suffix: str = "") -> Placed:
    """Store an image's trajectory, a PNG."""
    keys = [trajectory_key(name) for name in _names(f"{image_id}{suffix}", _digest(data))]
    return _object(data, *_put(store, keys, data, CONTENT_TYPES["png"]))


def place_container(
    store: Store, layout: Layout, name: str, images: Sequence[EncodedImage], own: pa.Table | None
) -> dict[str, Placed]:
    """Store a shard's images, with columns of their own, as one object; image_id -> place."""
    data = layout.write(images, own)
    keys = [container_key(each, layout.extension) for each in _names(name, _digest(data))]
    key, superseded = _put(store, keys, data, layout.content_type)
    return {
        image_id: Placed(key, found.member, found.offset, _digest(found.data), len(found.data), superseded)
        for image_id, found in layout.index(data).items()
    }


def place_sidecar(store: Store, key_of_image: str, data: bytes, is_as_good: Callable[[bytes], bool]) -> Placed:
    """Store the signed manifest of an image that is an object of its own: beside it, where C2PA's tools look.

    What an attempt that was cut off has left there is never equal: it is adopted where it `is_as_good`.
    """
    name = key_of_image.rpartition(".")[0]
    first, second = (f"{each}{SIDECAR}" for each in _names(name, _digest(data)))
    if store.put_if_absent(first, data, C2PA_TYPE):
        return _object(data, first, None)
    there = _found(store, first)
    if there is not None and is_as_good(there):
        return _object(there, first, None)
    return _object(data, *_put(store, [first, second], data, C2PA_TYPE))


def place_sidecars(store: Store, name: str, sidecars: Mapping[str, bytes]) -> dict[str, Placed]:
    """Store the signed manifests of a container's images as one object, by image_id: the container's bytes stay what
    they are without them, so that it can be written again."""
    data = write_ustar((f"{image_id}{SIDECAR}", sidecar) for image_id, sidecar in sidecars.items())
    keys = [sidecars_key(each) for each in _names(name, _digest(data))]
    key, superseded = _put(store, keys, data, "application/x-tar")
    return {
        image_id: Placed(key, f"{image_id}{SIDECAR}", None, _digest(sidecar), len(sidecar), superseded)
        for image_id, sidecar in sidecars.items()
    }


def _object(data: bytes, key: str, superseded: str | None) -> Placed:
    """Of an object of its own."""
    return Placed(key, None, None, _digest(data), len(data), superseded)


def _names(name: str, digest: str) -> tuple[str, str]:
    """What an object is called, and what it is called where other bytes have that name."""
    return name, f"{name}-{digest[:16]}"


def _put(store: Store, keys: Sequence[str], data: bytes, content_type: str) -> tuple[str, str | None]:
    """(the key under which exactly these bytes lie now, the key of other bytes that were in their way)."""
    first, second = keys
    if store.put_if_absent(first, data, content_type) or _holds(store, first, data):
        return first, None
    if not (store.put_if_absent(second, data, content_type) or _holds(store, second, data)):
        store.put(second, data, content_type)  # it is named by these bytes, so what lies there is damaged
    return second, first


def _holds(store: Store, key: str, data: bytes) -> bool:
    return _found(store, key) == data


def _found(store: Store, key: str) -> bytes | None:
    try:
        return store.get(key)
    except NotFound:  # removed meanwhile, or a folder of that name
        return None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
