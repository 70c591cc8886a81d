"""Signed manifests: whom they name, what they say, and that neither they nor their image can be changed unseen."""

import io
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import c2pa
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from darkroom.domain.errors import DarkroomError
from darkroom.runs.encoding import EXTENSIONS, IMAGE_FORMATS, EncodedImage, encode
from darkroom.runs.signing import ManifestSigner, check_signing, read_manifest, trusted
from darkroom.runs.signing_keys import TEST, Signing

PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
SETTINGS = {
    "image_id": "aa",
    "prompt": "ein Bär, 熊",
    "negative_prompt": "blur",
    "seed": 2**63 - 1,
    "guidance_scale": 5.5,
}


def image(image_format: str = "png") -> EncodedImage:
    data = encode(PIXELS, image_format, 90)
    return EncodedImage("aa", data, EXTENSIONS[image_format], "ein Bär, 熊", json.dumps(SETTINGS))


def issued(
    key: ec.EllipticCurvePrivateKey | None = None, days: tuple[int, int] = (-2, 2), folder: Path = Path()
) -> tuple[str, str, str]:
    """Files of a certificate of an own root, of its key, and of that root."""
    now, root_key = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1())
    own_key = key or ec.generate_private_key(ec.SECP256R1())

    def certificate(name: str, public: ec.EllipticCurvePublicKey, is_root: bool) -> bytes:
        names = [x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme"),
                            x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, "root")]  # fmt: skip
        usage = [not is_root, False, False, False, False, is_root, is_root, False, False]
        made = (
            x509.CertificateBuilder(names[1], names[0], public, x509.random_serial_number())
            .not_valid_before(now + timedelta(days=days[0]))
            .not_valid_after(now + timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(is_root, None), True)
            .add_extension(x509.KeyUsage(*usage), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), False)
        )
        if not is_root:
            made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        return made.sign(root_key, SHA256()).public_bytes(Encoding.PEM)

    root = certificate("root", root_key.public_key(), True)
    files = {"chain.pem": certificate("studio", own_key.public_key(), False) + root, "root.pem": root}
    files["key.pem"] = own_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return str(folder / "chain.pem"), str(folder / "key.pem"), str(folder / "root.pem")


@pytest.mark.parametrize("image_format", IMAGE_FORMATS)
def test_a_manifest_holds_for_its_image_alone(image_format: str) -> None:
    signed = image(image_format)
    manifest = ManifestSigner(Signing(TEST)).sign(signed, image_format)
    read = read_manifest(manifest, signed.data, image_format)
    assert (read.fault, read.is_trusted) == (None, False)
    assert "test certificate, not trusted" in read.signer
    for place in (40, len(signed.data) // 2, len(signed.data) - 1):
        changed = bytearray(signed.data)
        changed[place] ^= 1
        assert "dataHash.mismatch" in str(read_manifest(manifest, bytes(changed), image_format).fault)
    for place in (300, len(manifest) // 2):
        changed = bytearray(manifest)
        changed[place] ^= 1
        assert read_manifest(bytes(changed), signed.data, image_format).fault
    assert read_manifest(manifest[:900], signed.data, image_format).fault
    assert read_manifest(b"", signed.data, image_format).fault


def test_a_manifest_says_what_made_the_image() -> None:
    signed = image()
    for says_prompts in (True, False):
        manifest = ManifestSigner(Signing(TEST, says_prompts=says_prompts)).sign(signed, "png")
        with c2pa.Reader("image/png", io.BytesIO(signed.data), manifest_data=manifest) as reader:
            said = json.loads(reader.json())
        active = said["manifests"][said["active_manifest"]]
        assertions = {each["label"]: each["data"] for each in active["assertions"]}
        [action] = assertions["c2pa.actions.v2"]["actions"]
        assert (action["action"], action["softwareAgent"]["name"]) == ("c2pa.created", "Darkroom")
        assert action["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
        hidden = () if says_prompts else ("prompt", "negative_prompt")
        wanted = {name: value for name, value in SETTINGS.items() if name not in hidden}
        assert assertions["darkroom.generation"] == wanted
        assert active["title"] == "aa.png"


def test_an_own_certificate_is_trusted_by_its_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain, key, root = issued(folder=tmp_path)
    monkeypatch.setenv("SIGNING_KEY", Path(key).read_text())
    signed = image()
    other = tmp_path / "other"
    other.mkdir()
    _, _, stranger = issued(folder=other)
    for place in (key, "env:SIGNING_KEY"):
        check_signing(Signing(chain, place))
        manifest = ManifestSigner(Signing(chain, place)).sign(signed, "png")
        read = read_manifest(manifest, signed.data, "png", Path(root).read_text())
        assert (read.signer, read.is_trusted, read.fault) == ("studio (Acme)", True, None)
        read = read_manifest(manifest, signed.data, "png", Path(stranger).read_text())
        assert (read.is_trusted, read.fault) == (False, None)
        assert ManifestSigner(Signing(chain, key)).has_signed(manifest, signed, "png")
        assert not ManifestSigner(Signing(chain, key)).has_signed(manifest, image("webp"), "webp")
        assert not ManifestSigner(Signing(TEST)).has_signed(manifest, signed, "png")


@pytest.mark.parametrize("make", [ed25519.Ed25519PrivateKey.generate, lambda: ec.generate_private_key(ec.SECP384R1()),
                                  lambda: rsa.generate_private_key(65537, 2048)])  # fmt: skip
def test_keys_of_other_kinds_sign_too(tmp_path: Path, make: Callable) -> None:
    own = make()
    chain, key, _ = issued(own, folder=tmp_path)
    check_signing(Signing(chain, key))
    older = PrivateFormat.PKCS8 if isinstance(own, ed25519.Ed25519PrivateKey) else PrivateFormat.TraditionalOpenSSL
    Path(key).write_bytes(b"of a studio\r\n" + own.private_bytes(Encoding.PEM, older, NoEncryption()))
    check_signing(Signing(chain, key))  # as other tools write it


@pytest.mark.parametrize("text", ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_roots_that_are_none_are_no_images_fault(tmp_path: Path, text: str) -> None:
    _, key, root = issued(folder=tmp_path)
    assert trusted(root) == Path(root).read_text()
    (tmp_path / "roots.pem").write_text(f"# Müllers\n{Path(root).read_text()}")
    assert trusted(str(tmp_path / "roots.pem")) == Path(root).read_text()
    (tmp_path / "roots.pem").write_text(text)
    for path in (str(tmp_path / "roots.pem"), key):
        with pytest.raises(DarkroomError, match=r"trust_anchors=.*: cannot be read .*; give a PEM file of root"):
            trusted(path)


def test_without_the_optional_package_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(DarkroomError, match=r"pip install 'darkroom\[c2pa\]'"):
        check_signing(Signing(TEST))


def no_key(folder: Path) -> Signing:
    return Signing(issued(folder=folder)[0], str(folder / "none.pem"))


def no_variable(folder: Path) -> Signing:
    return Signing(issued(folder=folder)[0], "env:NO_SUCH_KEY")


def another_key(folder: Path) -> Signing:
    chain, key, _ = issued(folder=folder)
    own = ec.generate_private_key(ec.SECP256R1())
    Path(key).write_bytes(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return Signing(chain, key)


def encrypted(folder: Path) -> Signing:
    own = ec.generate_private_key(ec.SECP256R1())
    chain, key, _ = issued(own, folder=folder)
    Path(key).write_bytes(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")))
    return Signing(chain, key)


def expired(folder: Path) -> Signing:
    return Signing(*issued(days=(-9, -2), folder=folder)[:2])


def no_pem(folder: Path) -> Signing:
    chain, key, _ = issued(folder=folder)
    Path(chain).write_text("hello")
    return Signing(chain, key)


def of_a_root(folder: Path) -> Signing:
    """A root signs certificates, and no manifests: C2PA refuses it."""
    _, key, root = issued(folder=folder)
    return Signing(root, key)


def of_another_root(folder: Path) -> Signing:
    (folder / "other").mkdir()
    _, _, root = issued(folder=folder / "other")
    chain, key, _ = issued(folder=folder)
    leaf = Path(chain).read_text().partition("-----END CERTIFICATE-----\n")
    Path(chain).write_text("".join(leaf[:2]) + Path(root).read_text())
    return Signing(chain, key)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (of_another_root, "CN=studio,O=Acme is not issued by CN=root,O=Acme"),
        (no_key, "none.pem: cannot be read"),
        (no_variable, "no such environment variable"),
        (another_key, "it is not the key of CN=studio,O=Acme"),
        (encrypted, "it is encrypted"),
        (expired, "give one that is valid now"),
        (no_pem, "not readable as PEM"),
        (of_a_root, "it is not the key of"),
        (lambda folder: Signing(str(folder / "chain.pem"), str(folder / "key.pem")), "chain.pem: cannot be read"),
    ],
)
def test_what_cannot_sign_is_refused_by_name(tmp_path: Path, make: Callable[[Path], Signing], said: str) -> None:
    with pytest.raises(DarkroomError, match=said) as raised:
        check_signing(make(tmp_path))
    assert "PRIVATE" not in str(raised.value)
