"""Finds, checks and reads the FID Inception network's weights: tensors alone, never code. Knows no pictures."""

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from darkroom.domain.errors import DarkroomError
from darkroom.features.weights import weights_digest

FILE = "pt_inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{FILE}"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"  # of FILE, 95,628,359 bytes
# The same bytes, as pytorch-fid and torch-fidelity keep them.
_CACHED = (FILE, FILE.replace("pt_inception", "weights-inception"))
_CONVERT = "safetensors.torch.save_file(torch.load('weights.pth', weights_only=True), 'weights.safetensors')"


def find_inception(source: str | None) -> Path:
    """The file that `source` names, or the one that another tool has left in torch's hub cache."""
    if source is not None:
        path = Path(source).expanduser()
        if not path.is_file():
            raise DarkroomError(f"extractor inception_v3: source={source}: no such file; download {URL}")
        return path
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    for name in _CACHED:
        if (folder / name).is_file():
            return folder / name
    raise DarkroomError(
        f"extractor inception_v3: neither a source nor {folder / FILE}; download {URL} and name it as source"
    )


def inception_digest(path: Path) -> str:
    """ "sha256:..." of the file. One that is named after its digest must have it: a download may have broken off."""
    found = weights_digest([path])
    if path.name in _CACHED and found != f"sha256:{SHA256}":
        size = path.stat().st_size
        raise DarkroomError(
            f"extractor inception_v3: {path} ({size} bytes, {found[:19]}...) is not what its name says, sha256:"
            f"{SHA256[:12]}...; download {URL} again"
        )
    return found


def read_inception(path: Path, expected: set[str]) -> dict[str, torch.Tensor]:
    """Name -> tensor. Raises DarkroomError where names are missing or foreign; batch counters do not count.

    A pickle is read only where its bytes are those of the one file that everybody knows.
    """
    safe = path.suffix == ".safetensors"
    if not safe and weights_digest([path]) != f"sha256:{SHA256}":
        raise DarkroomError(
            f"extractor inception_v3: {path} is a pickle, which can run code, and not the known file of {URL}; "
            f"convert it, where you trust it, with `{_CONVERT}`"
        )
    try:
        state = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise DarkroomError(
            f"extractor inception_v3: {path} holds no plain tensors ({line[:100]}); use {URL}"
        ) from None
    names = {name for name in state if not name.endswith("num_batches_tracked")} if isinstance(state, dict) else set()
    wrong = sorted(names ^ expected)
    if wrong:
        raise DarkroomError(
            f"extractor inception_v3: {path} is another network: {len(expected - names)} tensors missing, "
            f"{len(names - expected)} foreign, such as {wrong[0]}; use {URL}"
        )
    return {name: state[name] for name in names}
