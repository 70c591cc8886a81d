"""Images to the 2,048 pool3 features of the FID Inception network, and those to class logits.

Its weights file is found, checked against its known digest, and read as tensors alone, never as code.
"""

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from darkroom.domain.errors import DarkroomError, first_line
from darkroom.evaluation.extractor import ExtractorSpec
from darkroom.evaluation.inception import NUM_CLASSES, NUM_FEATURES, SIDE, FidInception
from darkroom.evaluation.networks import in_batches, local_files, weights_digest
from darkroom.evaluation.preprocessing import RESIZES, resize
from darkroom.rendering.loading import LocalFiles
from darkroom.runs.features import ExtractorInfo

FILE = "pt_inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{FILE}"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"  # of FILE, 95,628,359 bytes
# The same bytes, as pytorch-fid and torch-fidelity keep them.
_CACHED = (FILE, FILE.replace("pt_inception", "weights-inception"))
_CONVERT = "safetensors.torch.save_file(torch.load('weights.pth', weights_only=True), 'weights.safetensors')"
_DEFAULT_RESIZE = "clean"  # the one that does not alias: pictures here are most often larger than 299


def inspect_inception(spec: ExtractorSpec) -> ExtractorInfo:
    """Checks the weights file's bytes and names, without building the network."""
    mode = _resize_mode(spec)
    path = find_inception(spec.source)
    info = ExtractorInfo("inception_v3", inception_digest(path), mode, NUM_FEATURES)
    read_inception(path, parameter_names())
    return info


def inception_files(spec: ExtractorSpec) -> LocalFiles:
    """The one file, and what it must be."""
    _resize_mode(spec)
    path = find_inception(spec.source)
    return local_files(spec, path.parent, lambda: [path.name])


def _resize_mode(spec: ExtractorSpec) -> str:
    mode = spec.resize or _DEFAULT_RESIZE
    if mode not in RESIZES:
        raise DarkroomError(f"extractor inception_v3: resize={mode} is not known; use one of {', '.join(RESIZES)}")
    return mode


def parameter_names() -> set[str]:
    """Of the 472 tensors that the weights file has."""
    with torch.device("meta"):
        names = set(FidInception().state_dict())
    return {name for name in names if not name.endswith("num_batches_tracked")}


class InceptionExtractor:
    """pool3 features, raw and never negative."""

    def __init__(self, spec: ExtractorSpec) -> None:
        self.info = inspect_inception(spec)
        state = read_inception(find_inception(spec.source), parameter_names())
        with torch.device("meta"):
            network = FidInception()
        network.to_empty(device="cpu").load_state_dict(state)
        self._network = network.eval().requires_grad_(False).to(spec.device)
        self._device, self._batch_size = spec.device, spec.batch_size

    def features(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        return in_batches(pictures, self._batch_size, NUM_FEATURES, self._call)

    def logits(self, features: np.ndarray) -> np.ndarray:
        """(N, 1008) float32 of stored (N, 2048) features: what the Inception score needs, without the pictures.

        Without the last layer's bias, as the score's own code (Salimans et al. 2016) and torch-fidelity have it.
        """
        weight = self._network.fc.weight
        return in_batches(
            list(features), self._batch_size, NUM_CLASSES, lambda rows: self._tensor(np.stack(rows)) @ weight.T
        )

    def _call(self, pictures: list[np.ndarray]) -> torch.Tensor:
        resized = np.stack([resize(picture, (SIDE, SIDE), self.info.resize) for picture in pictures])
        return self._network(_scaled(self._tensor(resized), self.info.resize))

    def _tensor(self, rows: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(rows).to(self._device, torch.float32)


def _scaled(pixels: torch.Tensor, mode: str) -> torch.Tensor:
    """[0, 255] to about [-1, 1]: pytorch-fid's own scale with its own resize, the graph's with the others."""
    return pixels / 127.5 - 1 if mode == "torch" else (pixels - 128) / 128


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

    A pickle is read only where its bytes are those of the one published file.
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
        line = first_line(error)
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
