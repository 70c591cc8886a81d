"""A network's life: its folder is found here or through the hub, named by its bytes, loaded, and run in batches.

It is loaded whole, in float32 and from safetensors alone. It runs in one fixed batch shape, so that a row depends on
its item alone: short batches are padded and the padding thrown away. A CPU works in one thread, since another number
moves low bits; a GPU works in full float32 and with kernels that give the same bits each time.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.extractor import ExtractorSpec
from darkroom.rendering.loading import LocalFiles, calls_models, detach_from_files, repeatable
from darkroom.rendering.model_files import SMALL_FILES, file_digests, files_in, hub_snapshot

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_CONVERT = "AutoModel.from_pretrained(folder).save_pretrained(new_folder)"

Item = TypeVar("Item")


@dataclass(frozen=True)
class ModelFolder:
    """A model that is complete on this machine."""

    path: Path
    config: dict[str, Any]  # config.json
    weights: tuple[Path, ...]  # in one format, all shards


def find_model(spec: ExtractorSpec, model_types: tuple[str, ...]) -> ModelFolder:
    """Small files first, so that another kind of model is refused before its weights are downloaded."""
    if spec.source is None:
        raise DarkroomError(f"extractor {spec.name}: no source; give a model's folder or hub id")
    path = Path(spec.source).expanduser()
    from_hub = not path.is_dir()
    if from_hub:
        path = _download(spec, SMALL_FILES)
    config = read_json(path / "config.json", spec)
    if config.get("model_type") not in model_types:
        raise DarkroomError(
            f"extractor {spec.name}: source={spec.source} is a {config.get('model_type', 'model of no type')}, "
            f"not a {' or '.join(model_types)}; give one that is"
        )
    return ModelFolder(path, config, _weights(spec, path, from_hub))


def model_files(spec: ExtractorSpec, model_types: tuple[str, ...]) -> LocalFiles:
    """All that a transformers model is read from, and what it must be: as the job saw it, or else as it is now."""
    path = find_model(spec, model_types).path
    return local_files(spec, path, lambda: sorted(file.relative_to(path).as_posix() for file in files_in(path)))


def local_files(spec: ExtractorSpec, folder: Path, find: Callable[[], Sequence[str]]) -> LocalFiles:
    names = find() if spec.pin is None else []
    now = zip(names, file_digests(folder / name for name in names), strict=True)
    return LocalFiles(f"extractor {spec.name}", folder, dict(spec.pin.digests if spec.pin else now), find)


def weights_digest(files: Sequence[Path]) -> str:
    """ "sha256:..." of one file's bytes; of several, of their names and digests in the order of names."""
    found = zip(files, file_digests(files), strict=True)
    digests = {path.name: digest.removeprefix("sha256:") for path, digest in found}
    if len(digests) == 1:
        return f"sha256:{next(iter(digests.values()))}"
    lines = "".join(f"{name}\0{digest}\n" for name, digest in sorted(digests.items()))
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def read_json(path: Path, spec: ExtractorSpec) -> dict[str, Any]:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DarkroomError(
            f"extractor {spec.name}: source={spec.source} has no {path.name}; give a model in transformers' layout"
        ) from None
    except ValueError as error:
        raise DarkroomError(f"extractor {spec.name}: {path} is not JSON ({error}); copy it anew") from None


def _weights(spec: ExtractorSpec, folder: Path, from_hub: bool) -> tuple[Path, ...]:
    for name in _WEIGHTS:
        if from_hub:
            _download(spec, [name], folder.name)
        if not (folder / name).is_file():
            continue
        names = sorted(set(read_json(folder / name, spec)["weight_map"].values())) if name.endswith(".json") else [name]
        if from_hub:
            _download(spec, names, folder.name)
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise DarkroomError(f"extractor {spec.name}: source={spec.source} lacks {missing[0]}; copy the model anew")
        return tuple(folder / name for name in names)
    raise DarkroomError(
        f"extractor {spec.name}: source={spec.source} has no {_WEIGHTS[0]}; copy the model anew, or, where its "
        f"weights are a pickle, which can run code, convert it where you trust it with `{_CONVERT}`"
    )


def _download(spec: ExtractorSpec, patterns: Sequence[str], revision: str | None = None) -> Path:
    """The folder of a hub snapshot with these files in it, as far as there are such; its name is the commit."""
    source = spec.source or ""
    if source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise DarkroomError(
            f"extractor {spec.name}: source={source}: no such folder; give one that is there, or a hub id"
        )
    said = f"extractor {spec.name}: source={source} is neither a local folder"
    return hub_snapshot(
        source, patterns, said, "the name, the network and, for a gated model, `hf auth login`", revision
    )


def load_network(network_class: Any, model: ModelFolder, spec: ExtractorSpec) -> Any:
    """The network on its device. What its weights lack would be made up at random, so it is refused."""
    quieten()
    network, report = network_class.from_pretrained(
        model.path,
        dtype=torch.float32,
        local_files_only=True,
        trust_remote_code=False,  # said, or else it is asked for on stdin
        use_safetensors=model.weights[0].suffix == ".safetensors",
        output_loading_info=True,
    )
    lacking = sorted(report["missing_keys"]) + [str(key) for key in report["mismatched_keys"]]
    if lacking:
        raise DarkroomError(
            f"extractor {spec.name}: the weights of source={spec.source} lack {len(lacking)} tensors that its "
            f"config.json asks for, such as {lacking[0]}; copy the model anew"
        )
    network = network.eval().requires_grad_(False).to(spec.device)
    detach_from_files([network])
    return network


def quieten() -> None:
    """No advice and no bars from transformers."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


@calls_models
@torch.inference_mode()
def in_batches(
    items: Sequence[Item], batch_size: int, width: int, call: Callable[[list[Item]], torch.Tensor]
) -> np.ndarray:
    """(N, width) float32: `call` makes (batch_size, width) of exactly batch_size items; N may be 0."""
    parts = [np.empty((0, width), np.float32)]
    with repeatable():
        for start in range(0, len(items), batch_size):
            batch = list(items[start : start + batch_size])
            rows = call(batch + batch[-1:] * (batch_size - len(batch)))
            parts.append(rows[: len(batch)].float().cpu().numpy())
    return np.concatenate(parts)
