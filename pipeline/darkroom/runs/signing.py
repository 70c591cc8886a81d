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
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from darkroom import __version__
from darkroom.domain.errors import DarkroomError, first_line
from darkroom.runs.encoding import CONTENT_TYPES, EncodedImage, encode

if TYPE_CHECKING:
    import c2pa
    from cryptography.x509 import Certificate

TEST = "test"  # in the place of a certificate's file: one that is made at once
ENVIRONMENT = "env:"  # before the name of an environment variable that holds a private key
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
_TEST_NAME = "Darkroom test certificate, not trusted"
_TEST_DAYS = 3650
_ALGORITHMS = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}  # by elliptic curve
_OFFLINE = {"remote_manifest_fetch": False, "ocsp_fetch": False}


@dataclass(frozen=True)
class Signing:
    """What workers sign with: where it lies, never the key itself."""

    certificate: str  # a PEM file with the certificate and those that lead to its root; or TEST
    private_key: str | None = None  # a PEM file, or ENVIRONMENT and a name; None: of TEST, which makes its own
    says_prompts: bool = True  # whether manifests hold prompts


@dataclass(frozen=True)
class ReadManifest:
    """What a manifest says of the image beside it."""

    signer: str  # name and organization of the certificate
    is_trusted: bool  # by the lists of trust that were given
    fault: str | None  # why it does not prove the image; None: signature and digests hold


# Signing -------------------------------------------------------------------------------------------------------------


class ManifestSigner:
    """Signs manifests, in any number of threads at once."""

    def __init__(self, signing: Signing) -> None:
        """Raises DarkroomError for a certificate or a key that cannot sign."""
        self._c2pa = _library()
        self._says_prompts = signing.says_prompts
        chain, key = _test_pair() if signing.certificate == TEST else _own_pair(signing)
        info = self._c2pa.C2paSignerInfo(_algorithm(key), chain, key, None)  # None: no time stamp, which is fetched
        try:
            self._signer = self._c2pa.Signer.from_info(info)
        except self._c2pa.C2paError as error:
            raise _unusable(signing, first_line(error)) from error
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
        raise _unusable(signing, first_line(error)) from error
    if read.fault:
        raise _unusable(signing, read.fault)


def _unusable(signing: Signing, reason: str) -> DarkroomError:
    return DarkroomError(
        f"output.c2pa.certificate={signing.certificate}: cannot sign C2PA manifests ({reason}); give a certificate for "
        "signing documents or claims, with those that lead to its root, and its own private key"
    )


def _library() -> Any:
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


# Certificates and keys -----------------------------------------------------------------------------------------------


def _own_pair(signing: Signing) -> tuple[bytes, bytes]:
    """(PEM of the chain, PEM of the private key). Raises DarkroomError for what cannot be read or does not match."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.x509 import load_pem_x509_certificates

    chain = _read("certificate", signing.certificate)
    key = _key_text(signing.private_key)
    try:
        first = load_pem_x509_certificates(chain)[0]
    except ValueError as error:
        raise _unusable(signing, f"not readable as PEM: {first_line(error)}") from None
    place = f"output.c2pa.private_key={signing.private_key}"
    try:
        own = load_pem_private_key(key, None)
    except TypeError:
        raise DarkroomError(f"{place}: it is encrypted; give a copy that is not, or env:NAME with one") from None
    except ValueError:
        raise DarkroomError(f"{place}: not readable as a private key in PEM; give that of the certificate") from None
    if own.public_key() != first.public_key():
        raise DarkroomError(f"{place}: it is not the key of {_name(first)}, the first of {signing.certificate}")
    _check_dates(signing, first)
    return chain, key


def _check_dates(signing: Signing, certificate: "Certificate") -> None:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begin <= datetime.now(UTC) <= end:
        raise DarkroomError(
            f"output.c2pa.certificate={signing.certificate}: {_name(certificate)} is valid from {begin:%Y-%m-%d} to "
            f"{end:%Y-%m-%d}; give one that is valid now"
        )


def _name(certificate: "Certificate") -> str:
    return certificate.subject.rfc4514_string()


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise DarkroomError(
            f"output.c2pa.{name}={path}: cannot be read ({error.strerror}); every worker's machine reads it from there"
        ) from error


def _key_text(place: str | None) -> bytes:
    assert place is not None, "checked by the options"
    if not place.startswith(ENVIRONMENT):
        return _read("private_key", place)
    text = os.environ.get(place.removeprefix(ENVIRONMENT))
    if not text:
        raise DarkroomError(
            f"output.c2pa.private_key={place}: no such environment variable here; set it to the key's PEM text on "
            "every worker's machine, or name a file"
        )
    return text.encode()


def _algorithm(key: bytes) -> str:
    """C2PA's name of the signature that this key makes."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    own = load_pem_private_key(key, None)
    if isinstance(own, ec.EllipticCurvePrivateKey) and own.curve.name in _ALGORITHMS:
        return _ALGORITHMS[own.curve.name]
    if isinstance(own, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(own, rsa.RSAPrivateKey):
        return "ps256"
    raise DarkroomError("output.c2pa.private_key: C2PA signs with keys of P-256, P-384, P-521, Ed25519 or RSA alone")


def _test_pair() -> tuple[bytes, bytes]:
    """A certificate of a root that nobody knows, and its key: of this process alone, and gone with it."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID

    now = datetime.now(UTC)
    root_key, own_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def certificate(name: str, key: ec.EllipticCurvePrivateKey, is_root: bool) -> x509.Certificate:
        begun = x509.CertificateBuilder().subject_name(_x509_name(name)).issuer_name(_x509_name(f"{_TEST_NAME}: root"))
        made = (
            begun.public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=_TEST_DAYS))
            .add_extension(x509.BasicConstraints(is_root, None), critical=True)
            .add_extension(_usage(is_root), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        )
        if not is_root:
            purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])  # that C2PA takes by default
            made = made.add_extension(purpose, critical=False)
        return made.sign(root_key, SHA256())

    chain = [certificate(_TEST_NAME, own_key, False), certificate(f"{_TEST_NAME}: root", root_key, True)]
    pem = b"".join(each.public_bytes(Encoding.PEM) for each in chain)
    return pem, own_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _x509_name(text: str) -> Any:
    from cryptography.x509 import Name, NameAttribute
    from cryptography.x509.oid import NameOID

    return Name([NameAttribute(NameOID.ORGANIZATION_NAME, "Darkroom"), NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(is_root: bool) -> Any:
    from cryptography.x509 import KeyUsage

    names = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
             "decipher_only")  # fmt: skip
    others = dict.fromkeys(names, False)
    return KeyUsage(digital_signature=not is_root, key_cert_sign=is_root, crl_sign=is_root, **others)


# Reading -------------------------------------------------------------------------------------------------------------


def read_manifest(manifest: bytes, image: bytes, image_format: str, trust_anchors: str | None = None) -> ReadManifest:
    """Hold a manifest against its image's file. `trust_anchors`: PEM text of roots; None: nobody is trusted."""
    library = _library()
    try:
        with library.Reader(
            CONTENT_TYPES[image_format], io.BytesIO(image), manifest_data=manifest, context=_reading(trust_anchors)
        ) as reader:
            said = json.loads(reader.json())
    except library.C2paError as error:
        return ReadManifest("", False, f"its manifest cannot be read ({first_line(error)})")
    signed = said["manifests"].get(said.get("active_manifest"), {}).get("signature_info", {})
    name = f"{signed.get('common_name', 'nobody')} ({signed.get('issuer', 'no organization')})"
    return ReadManifest(name, said["validation_state"] == "Trusted", _fault(said))


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
