"""The files of what is added to a model: found, digested and checked by their headers, before torch is imported.

A LoRA or a textual inversion is known by the digest of its one safetensors file, a VAE or a ControlNet by its weights'
and its configuration's, wherever they lie.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePath

from darkroom.domain.adapters import CONTROLNET, GGUF, JOIN, LORAS, NO_LORA, REFINER, VAE, LoraRef, Part
from darkroom.domain.errors import DarkroomError, MissingPackage
from darkroom.domain.settings import ModelRef
from darkroom.rendering.model_files import (
    INDEX,
    PICKLES,
    components_of,
    file_digests,
    files_in,
    folder_revision,
    hub_snapshot,
)
from darkroom.rendering.stored_tensors import SAFETENSORS, Shape, StoredTensor, component_tensors, header
from darkroom.storage.store import check_slashes, is_remote

CONFIG = "config.json"  # of a network
NETWORKS = {VAE: "VAE", CONTROLNET: "ControlNet"}  # kinds of parts that are folders with it, and what people call them
_REFINING = ("unet", "text_encoder", "text_encoder_2")  # what a refiner has weights of
_GGUF = ".gguf"
_USUAL_NAME = "pytorch_lora_weights.safetensors"  # that diffusers saves a LoRA as
_NETWORK = "diffusion_pytorch_model.safetensors"  # ... and a network
_NOT_IN_NAMES = frozenset(f'{JOIN},:<>"\n')  # what separates names in settings and in image files' texts
_DOWN = ("lora_A.weight", "lora.down.weight", "lora_down.weight", "lora_linear_layer.down.weight")  # (rank, in)
_PREFIXES = {"lora_unet": "unet", "lora_te": "text_encoder", "lora_te1": "text_encoder", "lora_te2": "text_encoder_2"}


@dataclass(frozen=True)
class PartFile:
    """A part, and where it is loaded from."""

    part: Part
    path: str  # file or folder of this machine, or a hub id with or without the name of a file
    digests: tuple[tuple[str, str], ...] = ()  # of its files, by their names

    @property
    def label(self) -> str:
        """In messages."""
        return f"model.{self.part.kind} {self.part.name} ({self.path})"

    @property
    def hub_name(self) -> str:
        """As `CARDS` call it: a hub id, with the name of its file where that is no usual one."""
        return self.path.removesuffix(f"/{_USUAL_NAME}")


def is_local(path: str) -> bool:
    return Path(path).expanduser().exists()


def lora_files(refs: Sequence[LoraRef]) -> tuple[PartFile, ...]:
    """Each LoRA with its digest. Raises DarkroomError for one that is not there, is no LoRA or has another's name."""
    if refs and find_spec("peft") is None:
        raise MissingPackage("model.loras needs the package peft; run `pip install 'peft>=0.21'`")
    found = tuple(_lora_file(ref) for ref in refs)
    for place, first in enumerate(found):
        for second in found[place + 1 :]:
            if first.part.name == second.part.name:
                raise DarkroomError(f"model.loras has two named {first.part.name}; give each a name of its own")
            if first.part.revision == second.part.revision:
                raise DarkroomError(f"model.loras: {first.path} and {second.path} are one file; leave one of them out")
    return found


def _lora_file(ref: LoraRef) -> PartFile:
    label = f"model.loras {ref.path}"
    file = weights_file(ref.path, label)
    if not any("lora" in name or "lokr" in name for name in header(file, label)):
        raise DarkroomError(f"{label} has no LoRA layers; give a LoRA, or load a whole model as model.repo_id")
    name = ref.name or _default_name(ref.path, file)
    if name == NO_LORA or not name.strip() or set(name) & _NOT_IN_NAMES:
        raise DarkroomError(
            f'model.loras {ref.path}: its name {name!r} cannot be; give name=..., without any of {JOIN} , : < > " and '
            f"other than {NO_LORA}"
        )
    return digested(LORAS, name, ref.path, ref.weight)


def _default_name(path: str, file: Path) -> str:
    """The file's name without its ending; that of its folder or hub id where it is called as diffusers calls all."""
    if file.name != _USUAL_NAME:
        return file.stem
    place = Path(path)
    return place.parent.name if place.name == file.name else place.name


def digested(kind: str, name: str, path: str, weight: float = 1.0) -> PartFile:
    """A part by the digests of its files as they are now."""
    digests = digests_of(kind, path, f"model.{kind} {name} ({path})")
    return PartFile(Part(kind, name, revision_of(digests), weight), path, tuple(digests.items()))


def digests_of(kind: str, path: str, label: str) -> dict[str, str]:
    """Name -> digest of each file of a part, in its `folder_of`."""
    folder = folder_of(kind, path, label)
    if kind == REFINER:
        names = [INDEX, *_refiner_names(folder)]
    else:
        file = weights_file(path, label, kind)
        names = [CONFIG, file.name] if kind in NETWORKS else [file.name]
    return dict(zip(names, file_digests(folder / name for name in names), strict=True))


def _refiner_names(folder: Path) -> Iterator[str]:
    """Of the files of its components, but for its VAE, which decodes nothing."""
    places = [folder / name for name in components_of(json.loads((folder / INDEX).read_bytes())) if name != VAE]
    for place in sorted(each for each in places if each.is_dir()):
        yield from sorted(path.relative_to(folder).as_posix() for path in files_in(place))


def folder_of(kind: str, path: str, label: str) -> Path:
    """Of this machine, in which a part's files lie."""
    return _model_folder(path, label) if kind == REFINER else weights_file(path, label, kind).parent


def revision_of(digests: Mapping[str, str]) -> str:
    """The one file's digest, or one of all."""
    return next(iter(digests.values())) if len(digests) == 1 else folder_revision(digests)


# Where the file is --------------------------------------------------------------------------------------------------


def weights_file(path: str, label: str, kind: str = LORAS) -> Path:
    """The one safetensors file at a path, a hub id or an address; one from afar is copied, or found in a cache."""
    check_slashes(path, _setting(label))
    if is_remote(path):
        return _from_store(path, label, kind)
    place = Path(path).expanduser()
    if kind in NETWORKS:
        return _network_weights(place, path, label, kind)
    if kind == GGUF:
        return _gguf(place, path, label)
    if place.is_dir():
        return _in_folder(place, label)
    _check_no_pickle(place, label)
    if place.is_file():
        return place
    parts = path.rstrip("/").split("/")
    is_hub_id = len(parts) == 2 or (len(parts) > 2 and path.endswith(SAFETENSORS))
    if path.startswith((".", "/", "~")) or "://" in path or not is_hub_id or (len(parts) == 2 and place.suffix):
        raise DarkroomError(
            f"{label}: no such file; give a {SAFETENSORS} file, a folder with one, a hub id or s3://..."
        )
    return _from_hub("/".join(parts[:2]), "/".join(parts[2:]), label)


def _check_no_pickle(path: PurePath, label: str) -> None:
    if path.suffix in PICKLES:
        raise DarkroomError(f"{label} is a pickle, which can run code; convert it to safetensors where you trust it")


def files_at(place: str, kind: str = LORAS) -> list[str]:
    """The files of a folder and of those in it, or for networks the folders with files; else the place itself."""
    folder = Path(place).expanduser()
    if kind == GGUF and folder.is_dir():
        return sorted(str(file.resolve()) for file in folder.rglob(f"*{_GGUF}")) or [place]
    if kind == REFINER:
        return sorted(str(index.resolve().parent) for index in folder.glob(f"*/{INDEX}")) or [place]
    found = sorted([*folder.glob(f"*{SAFETENSORS}"), *folder.glob(f"*/*{SAFETENSORS}")]) if folder.is_dir() else []
    files = [file.resolve() for file in found]
    return [str(file.parent if kind in NETWORKS else file) for file in files] or [place]


def _gguf(place: Path, path: str, label: str) -> Path:
    """A file here, or one of the hub, which may go into folders there."""
    if place.suffix == _GGUF and place.is_file():
        return place
    parts = path.split("/")
    if place.suffix != _GGUF or len(parts) < 3 or path.startswith((".", "/", "~")) or "://" in path:
        raise DarkroomError(f"{label}: no such file; give a {_GGUF} file, or a hub id with the name of one")
    return _from_hub("/".join(parts[:2]), "/".join(parts[2:]), label)


def _in_folder(folder: Path, label: str) -> Path:
    return folder / _one_of([path.name for path in folder.glob("*")], label)


def _one_of(names: Iterable[str], label: str) -> str:
    """The one file of a folder that holds weights."""
    suffixes = {name: PurePath(name).suffix for name in sorted(names)}
    files = [name for name, suffix in suffixes.items() if suffix == SAFETENSORS]
    usual = [name for name in files if name in (_USUAL_NAME, _NETWORK)]
    if len(usual or files) == 1:
        return (usual or files)[0]
    if files:
        some = ", ".join(files[:5])
        raise DarkroomError(f"{label} has several files ({some}); give the path of one of them")
    if PICKLES.intersection(suffixes.values()):
        raise DarkroomError(f"{label} has its weights as a pickle, which can run code; convert it to safetensors")
    raise DarkroomError(f"{label}: no {SAFETENSORS} file in that folder; give the folder or the file that has one")


def _network_weights(place: Path, path: str, label: str, kind: str) -> Path:
    """Of a network's folder, or of that in a model's folder; a ControlNet may be one of the hub."""
    if kind == CONTROLNET and not place.exists() and path.count("/") == 1 and not path.startswith((".", "/", "~")):
        return _in_folder(_snapshot(path, label, [CONFIG, _NETWORK]), label)
    folder = place / kind if (place / INDEX).is_file() else place
    _check_network((CONFIG,) if (folder / CONFIG).is_file() else (), label, kind)
    return _in_folder(folder, label)


def _model_folder(path: str, label: str) -> Path:
    """Of a whole model in diffusers' layout; one of the hub is downloaded without its VAE, or found in the cache."""
    if is_remote(path):
        from darkroom.rendering.remote_files import remote_model  # with the clouds' client

        return remote_model(path, _setting(label)).whole()
    place = Path(path).expanduser()
    if (place / INDEX).is_file():
        return place
    if place.exists() or path.startswith((".", "/", "~")) or "://" in path or path.count("/") != 1:
        raise DarkroomError(
            f"{label}: no {INDEX} there; give the folder of a model in diffusers' layout, s3://... or a hub id"
        )
    return _snapshot(path, label, [INDEX, "*/*.json", "*/*.txt", *(f"{each}/*{SAFETENSORS}" for each in _REFINING)])


def _check_network(names: Sequence[str], label: str, kind: str) -> None:
    if CONFIG not in names:
        hub = ", or a hub id" if kind == CONTROLNET else ""
        raise DarkroomError(
            f"{label}: no {CONFIG} there; give the folder of a {NETWORKS[kind]}, or of a model that has one{hub}"
        )


def _from_store(uri: str, label: str, kind: str) -> Path:
    """Of the copy in the cache, which is made where there is none."""
    from darkroom.rendering.remote_files import remote_files  # with the clouds' client

    found = remote_files(uri, _setting(label))
    if kind == GGUF and not (found.is_file and uri.endswith(_GGUF)):
        raise DarkroomError(f"{label}: no {_GGUF} file; give the address of one")
    if found.is_file and kind not in NETWORKS:
        _check_no_pickle(PurePath(found.names[0]), label)
        return found.copied(found.names) / found.names[0]
    if kind in NETWORKS:
        folder = uri.rstrip("/")
        found = remote_files(f"{folder}/{kind}", _setting(label)) if INDEX in found.names else found
        _check_network(found.names, label, kind)
    name = _one_of(found.names, label)
    return found.copied([name, CONFIG] if kind in NETWORKS else [name]) / name


def _setting(label: str) -> str:
    """Such as model.loras, of a label that says the path too."""
    return label.split()[0].split("=")[0]


def _from_hub(repo_id: str, name: str, label: str) -> Path:
    if not name:
        return _in_folder(_snapshot(repo_id, label, [f"*{SAFETENSORS}"]), label)
    return _snapshot(repo_id, label, [name]) / name


def _snapshot(repo_id: str, label: str, patterns: list[str]) -> Path:
    return hub_snapshot(repo_id, patterns, f"{label}: neither here", "the name, the network and `hf auth login`")


# What is in it ------------------------------------------------------------------------------------------------------


def check_fits(file: PartFile, model: Path, ref: ModelRef) -> None:
    """Refuse a LoRA for layers of other sizes than the model's, whose weights are in this folder."""
    layers = dict(_input_sizes(header(weights_file(file.path, file.label), file.label)))
    known = dict(_layer_shapes(model, ref))
    for name, size in layers.items():
        wanted = known.get(name)
        if wanted is not None and wanted[1:2] != (size,):
            raise DarkroomError(
                f"{file.label} is for a model of another architecture: {name} takes {size} numbers there and "
                f"{wanted[1]} in {ref.repo_id}; give a LoRA that was made for this model"
            )


def _input_sizes(tensors: Mapping[str, StoredTensor]) -> Iterator[tuple[str, int]]:
    """Layer, with its component's name in front and _ for every dot, and how many numbers a LoRA takes of its input."""
    for name, tensor in tensors.items():
        ending = next((each for each in _DOWN if name.endswith(f".{each}")), None)
        if ending and len(tensor.shape) > 1:
            layer = name.removesuffix(f".{ending}").replace(".", "_")
            prefix = next((each for each in _PREFIXES if layer.startswith(f"{each}_")), None)
            yield (layer.replace(prefix, _PREFIXES[prefix], 1) if prefix else layer), tensor.shape[1]


def _layer_shapes(model: Path, ref: ModelRef) -> Iterator[tuple[str, Shape]]:
    """Layer, named as `_input_sizes` names it, and the shape of its weight."""
    for place in sorted(each for each in model.iterdir() if each.is_dir()):
        for name, tensor in component_tensors(model, place.name, ref.variant, ref.repo_id).items():
            if name.endswith(".weight"):
                yield f"{place.name}.{name.removesuffix('.weight')}".replace(".", "_"), tensor.shape
