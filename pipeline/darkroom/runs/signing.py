"""Signed manifests of images, C2PA's: made as images are encoded, and read back.

A manifest is a file of its own, a sidecar, so that the image's bytes stay what they are without it. It binds them by
their SHA-256, says that a trained model made them, and with which settings, and is signed with the key of a
certificate. Two signatures of one image are never equal bytes: manifests hold random salts, which make guesses of what
was redacted useless. Formats and words are those of the C2PA specification 2.2.

The optional package c2pa-python does it, which fetches nothing as it is used here: without a time stamp, without lists
of trust but those that are given.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from darkroom import __version__
from darkroom.domain.errors import DarkroomError, first_line
from darkroom.runs.encoding import CONTENT_TYPES, EncodedImage, encode
from darkroom.runs.signing_keys import Signing, credential, roots, unusable

if TYPE_CHECKING:
    import c2pa

CONTENT_TYPE = "application/c2pa"
_SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
MADE_BY_MODEL = f"{_SOURCES}trainedAlgorithmicMedia"
EDITED_BY_MODEL = f"{_SOURCES}compositeWithTrainedAlgorithmicMedia"  # of a picture
EDITS = {  # what actions say
    "overlay": {"action": "c2pa.edited", "description": "a given text was drawn on it"},
    "watermark": {"action": "c2pa.watermarked.unbound"},  # by which no manifest is found
}
_SETTINGS = "darkroom.generation"  # label of the assertion with an image's settings
_PROMPTS = ("prompt", "negative_prompt")  # in that assertion
_OFFLINE = {"remote_manifest_fetch": False, "ocsp_fetch": False}


@dataclass(frozen=True)
class ReadManifest:
    """What a manifest says of the image beside it."""

    signer: str  # name and organization of the certificate
    serial: str  # its serial number
    is_trusted: bool  # by the lists of trust that were given
    fault: str | None  # why it does not prove the image; None: signature and digests hold


# Signing -------------------------------------------------------------------------------------------------------------


class ManifestSigner:
    """Signs manifests, in any number of threads at once."""

    def __init__(self, signing: Signing) -> None:
        """Raises DarkroomError for a certificate or a key that cannot sign."""
        self._c2pa = _library()
        self._says_prompts = signing.says_prompts
        found = credential(signing)
        self._serial = found.serial
        # None: no time stamp, which is fetched.
        info = self._c2pa.C2paSignerInfo(found.algorithm, found.chain, found.private_key, None)
        try:
            self._signer = self._c2pa.Signer.from_info(info)
        except self._c2pa.C2paError as error:
            raise unusable(signing, first_line(error)) from error
        self._context = _context({"verify_trust": False, "verify_after_sign": False})

    def sign(self, image: EncodedImage, image_format: str, edits: Sequence[str] = ()) -> bytes:
        """The manifest of an image's file, as it is read by C2PA's tools from `<name>.c2pa` beside `<name>.png`.

        `edits`: of EDITS, what was done to the image after it was rendered.
        """
        builder = self._c2pa.Builder(self._manifest(image, image_format, edits), context=self._context)
        with builder:
            builder.set_no_embed()
            signed: bytes = builder.sign(
                self._signer, CONTENT_TYPES[image_format], io.BytesIO(image.data), io.BytesIO()
            )
        return signed

    def has_signed(self, manifest: bytes, image: EncodedImage, image_format: str) -> bool:
        """Whether a manifest holds for an image, and is signed with this certificate."""
        read = read_manifest(manifest, image.data, image_format)
        return read.fault is None and read.serial == self._serial

    def _manifest(self, image: EncodedImage, image_format: str, edits: Sequence[str]) -> dict[str, Any]:
        agent = {"name": "Darkroom", "version": __version__}
        settings = json.loads(image.settings)
        said = {name: value for name, value in settings.items() if self._says_prompts or name not in _PROMPTS}
        source = EDITED_BY_MODEL if "image_sha256" in settings else MADE_BY_MODEL
        created = {"action": "c2pa.created", "softwareAgent": agent, "digitalSourceType": source}
        return {
            "claim_generator_info": [agent],
            "title": f"{image.image_id}.{image.extension}",
            "format": CONTENT_TYPES[image_format],
            "assertions": [
                {"label": "c2pa.actions.v2", "data": {"actions": [created, *(EDITS[name] for name in edits)]}},
                {"label": _SETTINGS, "data": said},
            ],
        }


def check_signing(signing: Signing) -> None:
    """Sign a picture and read that back. Raises DarkroomError where the certificate and the key cannot do it."""
    data = encode(np.zeros((8, 8, 3), np.uint8), "png", 0)
    image = EncodedImage("check", data, "png", "", "{}")
    signer = ManifestSigner(signing)
    try:
        read = read_manifest(signer.sign(image, "png"), data, "png")
    except _library().C2paError as error:
        raise unusable(signing, first_line(error)) from error
    if read.fault:
        raise unusable(signing, read.fault)


def _library() -> Any:
    """c2pa-python. Raises DarkroomError where it is not installed, nor with it cryptography, which it needs."""
    try:
        import c2pa
    except ImportError:
        raise DarkroomError(
            "output.c2pa: signing and reading C2PA manifests needs c2pa-python; pip install 'darkroom[c2pa]'"
        ) from None
    return c2pa


def _context(verify: Mapping[str, bool], trust: Mapping[str, str] | None = None) -> "c2pa.Context":
    settings = {
        "verify": {**_OFFLINE, **verify},
        "builder": {"thumbnail": {"enabled": False}},
        **({"trust": trust} if trust else {}),
    }
    return _library().Context.from_dict(settings)


# Reading -------------------------------------------------------------------------------------------------------------


def trusted(path: str | None) -> str | None:
    """PEM text of the roots in a file, as `read_manifest` takes it. Raises DarkroomError where it has none."""
    _ = _library()
    return None if path is None else roots(path)


def read_manifest(manifest: bytes, image: bytes, image_format: str, trust_anchors: str | None = None) -> ReadManifest:
    """Hold a manifest against its image's file. `trust_anchors`: PEM text of roots; None: nobody is trusted."""
    c2pa = _library()
    try:
        with c2pa.Reader(
            CONTENT_TYPES[image_format], io.BytesIO(image), manifest_data=manifest, context=_reading(trust_anchors)
        ) as reader:
            said = json.loads(reader.json())
    except c2pa.C2paError as error:
        return unread(f"its manifest cannot be read ({first_line(error)})")
    signed = said["manifests"].get(said.get("active_manifest"), {}).get("signature_info", {})
    name = f"{signed.get('common_name', 'nobody')} ({signed.get('issuer', 'no organization')})"
    is_trusted = said["validation_state"] == "Trusted"
    return ReadManifest(name, signed.get("cert_serial_number", ""), is_trusted, _fault(said))


def unread(fault: str) -> ReadManifest:
    """Of an image whose manifest says nothing of it."""
    return ReadManifest("", "", False, fault)


@cache
def _reading(trust_anchors: str | None) -> "c2pa.Context":
    if trust_anchors is None:
        return _context({"verify_trust": False})
    return _context({"verify_trust": True}, {"user_anchors": trust_anchors})


def _fault(said: Mapping[str, Any]) -> str | None:
    """What does not hold, by C2PA's codes; that nobody vouches for the certificate is another matter."""
    found = said.get("validation_results", {}).get("activeManifest", {})
    codes = [each["code"] for each in found.get("failure", ()) if each["code"] != "signingCredential.untrusted"]
    if said["validation_state"] == "Invalid" or codes:
        return f"its manifest does not hold: {', '.join(codes) or 'invalid'}"
    return None
