"""What manifests of images are signed with: a certificate with those that lead to its root, and its private key.

They are read where they are used, by each worker, and kept nowhere. Read by cryptography, which takes more kinds of PEM
than C2PA's library does, they are handed to that as the one that it takes.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.domain.errors import DarkroomError, first_line

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

TEST = "test"  # in the place of a certificate's file: one that is made at once
ENVIRONMENT = "env:"  # before the name of an environment variable that holds a private key
_TEST_NAME = "Darkroom test certificate, not trusted"
_TEST_DAYS = 3650
_Pair = tuple[Sequence["Certificate"], Any]  # a chain, first the certificate that signs, and its private key
_ALGORITHMS = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}  # by elliptic curve


@dataclass(frozen=True)
class Signing:
    """What workers sign with: where it lies, never the key itself."""

    certificate: str  # a PEM file with the certificate and those that lead to its root; or TEST
    private_key: str | None = None  # a PEM file, or ENVIRONMENT and a name; None: of TEST, which makes its own
    says_prompts: bool = True  # whether manifests hold prompts


@dataclass(frozen=True)
class Credential:
    """What C2PA's library signs with."""

    algorithm: str  # by C2PA's name
    chain: bytes  # PEM, first the certificate that signs
    private_key: bytes = field(repr=False)  # PKCS #8 in PEM
    serial: str  # of that certificate


def credential(signing: Signing) -> Credential:
    """Raises DarkroomError for a certificate or a key that cannot be read, is not of the other, or is not valid now."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    chain, key = _test_pair() if signing.certificate == TEST else _own_pair(signing)
    return Credential(
        _algorithm(key),
        _pem(chain),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        str(chain[0].serial_number),
    )


def roots(path: str) -> str:
    """PEM text of the certificates in a file, whose signatures pass. Raises DarkroomError where it has none."""
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return _pem(load_pem_x509_certificates(Path(path).expanduser().read_bytes())).decode()
    except (OSError, ValueError) as error:
        raise DarkroomError(
            f"trust_anchors={path}: cannot be read ({first_line(error)}); give a PEM file of root certificates"
        ) from error


def unusable(signing: Signing, reason: str) -> DarkroomError:
    return DarkroomError(
        f"output.c2pa.certificate={signing.certificate}: cannot sign C2PA manifests ({reason}); give a certificate for "
        "signing documents or claims, with those that lead to its root, and its own private key"
    )


def _own_pair(signing: Signing) -> _Pair:
    """Raises DarkroomError for what cannot be read, is not of each other, or is not valid now."""
    chain, key = _chain(signing), _private_key(signing)
    if key.public_key() != chain[0].public_key():
        raise DarkroomError(
            f"output.c2pa.private_key={signing.private_key}: it is not the key of {_name(chain[0])}, the first of "
            f"{signing.certificate}"
        )
    for certificate in chain:
        _check_dates(signing, certificate)
    for certificate, issuer in pairwise(chain):
        _check_issued(signing, certificate, issuer)
    return chain, key


def _chain(signing: Signing) -> Sequence["Certificate"]:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.x509 import load_pem_x509_certificates

    text = _read("certificate", signing.certificate)
    try:
        found = load_pem_x509_certificates(text)
        found[0].public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise unusable(signing, f"not readable as PEM: {first_line(error)}") from None
    return found


def _private_key(signing: Signing) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    place, text = f"output.c2pa.private_key={signing.private_key}", _key_text(signing.private_key)
    try:
        return load_pem_private_key(text, None)
    except TypeError:
        raise DarkroomError(f"{place}: it is encrypted; give a copy that is not, or env:NAME with one") from None
    except (ValueError, UnsupportedAlgorithm):
        raise DarkroomError(f"{place}: not readable as a private key in PEM; give that of the certificate") from None


def _check_dates(signing: Signing, certificate: "Certificate") -> None:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begin <= datetime.now(UTC) <= end:
        raise DarkroomError(
            f"output.c2pa.certificate={signing.certificate}: {_name(certificate)} is valid from {begin:%Y-%m-%d} to "
            f"{end:%Y-%m-%d}; give one that is valid now"
        )


def _check_issued(signing: Signing, certificate: "Certificate", issuer: "Certificate") -> None:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        raise DarkroomError(
            f"output.c2pa.certificate={signing.certificate}: {_name(certificate)} is not issued by {_name(issuer)}, "
            "which comes after it; give the certificate and those that lead to its root, in this order"
        ) from None


def _pem(certificates: Sequence["Certificate"]) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


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


def _algorithm(key: Any) -> str:
    """C2PA's name of the signature that this key makes."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _ALGORITHMS:
        return _ALGORITHMS[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    raise DarkroomError("output.c2pa.private_key: C2PA signs with keys of P-256, P-384, P-521, Ed25519 or RSA alone")


def _test_pair() -> _Pair:
    """A certificate of a root that nobody knows, and its key: of this process alone, and gone with it."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
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

    return [certificate(_TEST_NAME, own_key, False), certificate(f"{_TEST_NAME}: root", root_key, True)], own_key


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
