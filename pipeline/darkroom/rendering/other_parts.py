"""Other VAEs, ControlNets, textual inversions and quantized denoisers: checked against the model by their small files
and headers, and loaded.

A denoiser is a GGUF file, of quantized weights in the place of the model's own.
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from darkroom.domain.adapters import CONTROLNET, GGUF, INVERSIONS, VAE, InversionRef
from darkroom.domain.errors import DarkroomError, first_line
from darkroom.domain.settings import FLOAT8, NONE, ModelRef
from darkroom.rendering.families import FAMILIES, family_of
from darkroom.rendering.loading import loads_models
from darkroom.rendering.model_facts import vae_scale
from darkroom.rendering.model_files import components_of
from darkroom.rendering.part_files import CONFIG, NETWORKS, PartFile, digested, weights_file
from darkroom.rendering.stored_tensors import StoredTensor, header

_SAME = ("_class_name", "latent_channels")  # of two VAEs that decode the same latents; and as many blocks
# What a file of embeddings may call them, where it has no word of its own -> the text encoder that they are for.
_ENCODERS = {"emb_params": "text_encoder", "clip_l": "text_encoder", "clip_g": "text_encoder_2"}
_DENOISERS = ("transformer", "unet")
# What a ControlNet shares with the UNet that it adds to: its inputs, and the shapes of what it gives.
_OF_UNET = (
    "in_channels",
    "block_out_channels",
    "layers_per_block",
    "cross_attention_dim",
    "addition_embed_type",
    "projection_class_embeddings_input_dim",
)
_STAGES, _USUAL_STAGES = "conditioning_embedding_out_channels", (16, 32, 96, 256)  # each but the first halves sides
_SCALE = "number of pixels a latent pixel"
_CONTROLNET_CLASS = "ControlNetModel"
_BYTES = "U8"  # by safetensors' name


# Before loading -----------------------------------------------------------------------------------------------------


def vae_file(path: str, model: Path, repo_id: str) -> PartFile:
    """A VAE with its digest. `model`: folder of the model's small files.

    Raises DarkroomError for one of other latents.
    """
    place = Path(path).expanduser().resolve()
    name = place.parent.name if place.name == VAE else place.name
    file = digested(VAE, name, path)
    theirs = _config(weights_file(path, file.label, VAE).parent, file.label)
    of_model = _config(model / VAE, f"model.repo_id={repo_id}")
    for key in _SAME:
        if theirs.get(key) != of_model.get(key):
            raise _other_latents(file, key, theirs.get(key), of_model.get(key), repo_id)
    counts = [len(each.get("block_out_channels", ())) for each in (theirs, of_model)]
    if counts[0] != counts[1]:
        raise _other_latents(file, "number of blocks", counts[0], counts[1], repo_id)
    return file


def _other_latents(file: PartFile, what: str, theirs: object, of_model: object, repo_id: str) -> DarkroomError:
    return DarkroomError(
        f"{file.label} decodes other latents: its {what} is {theirs}, and that of {repo_id} is {of_model}; give a VAE "
        "that was made for this model"
    )


def _config(folder: Path, label: str, kind: str = VAE) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / CONFIG).read_bytes()))
    except (OSError, ValueError) as error:
        raise DarkroomError(
            f"{label}: {CONFIG} of its {NETWORKS[kind]} cannot be read ({error}); copy it anew"
        ) from None


def controlnet_file(ref: ModelRef, class_name: str, model: Path) -> PartFile:
    """A ControlNet with its digest. `model`: folder of the model's small files.

    Raises DarkroomError for a model that takes none, or one that was made for another.
    """
    path = str(ref.controlnet)
    label = f"model.controlnet={path}"
    if family_of(class_name).controlnets is None:
        known = ", ".join(name for name, family in FAMILIES.items() if family.controlnets)
        raise DarkroomError(f"{label}: {ref.repo_id} is a {class_name}, and takes none; use a model of one of {known}")
    if ref.offload != NONE:
        raise DarkroomError(f"{label}: model.offload={ref.offload} is of the model alone; leave one of them out")
    folder = weights_file(path, label, CONTROLNET).parent
    theirs, unet = _config(folder, label, CONTROLNET), _config(model / "unet", f"model.repo_id={ref.repo_id}")
    if theirs.get("_class_name") != _CONTROLNET_CLASS:
        raise DarkroomError(f"{label} is a {theirs.get('_class_name')}; give a {_CONTROLNET_CLASS}")
    wanted = {key: unet.get(key) for key in _OF_UNET} | {"conditioning_channels": 3, _SCALE: vae_scale(model)}
    found = {"conditioning_channels": 3} | theirs | {_SCALE: 2 ** (len(theirs.get(_STAGES, _USUAL_STAGES)) - 1)}
    for key, value in wanted.items():
        if found.get(key) != value:
            raise DarkroomError(
                f"{label} is for another model: its {key} is {found.get(key)}, and that of {ref.repo_id} is {value}; "
                "give one that was made for this model"
            )
    place = Path(path).expanduser()
    return digested(CONTROLNET, place.resolve().name if place.exists() else path.rstrip("/").split("/")[-1], path)


def inversion_files(refs: Sequence[InversionRef], model: Path, repo_id: str) -> tuple[PartFile, ...]:
    """Each with its word and digest. Raises DarkroomError for one of another width than the model's text encoders."""
    found = tuple(_inversion_file(ref, model, repo_id) for ref in refs)
    names = [each.part.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise DarkroomError(f"model.textual_inversions has two for {name}; give each a token of its own")
    return found


def _inversion_file(ref: InversionRef, model: Path, repo_id: str) -> PartFile:
    label = f"model.textual_inversions {ref.path}"
    file = weights_file(ref.path, label)
    shapes = {name: tensor.shape for name, tensor in header(file, label).items()}
    for name, encoder in _embeddings(shapes, label).items():
        found = shapes[name][-1] if shapes[name] else 0
        config = model / encoder / CONFIG
        wanted = json.loads(config.read_bytes()).get("hidden_size") if config.is_file() else None
        if found != wanted:
            has = f"takes {wanted}" if wanted else f"has no {encoder}"
            raise DarkroomError(
                f"{label} is for another model: its embeddings have {found} numbers, and {repo_id} {has}; give one "
                "that was made for this model"
            )
    words = [name for name in shapes if name not in _ENCODERS]
    token = ref.token or (words[0] if words else file.stem)
    if not token.strip() or len(token.split()) > 1:
        raise DarkroomError(f"{label}: its word {token!r} is no single word; give token=...")
    return digested(INVERSIONS, token, ref.path)


def _embeddings(names: Iterable[str], label: str) -> dict[str, str]:
    """Tensor -> text encoder that it is for."""
    found = {name: _ENCODERS.get(name, "text_encoder") for name in names}
    if len(set(found.values())) != len(found) or not found:
        raise DarkroomError(f"{label} holds {len(found)} tensors, and no embedding of one word; give another file")
    return found


# Loading ------------------------------------------------------------------------------------------------------------


def load_vae(file: PartFile, dtype: Any) -> Any:
    """The VAE in this dtype, on the CPU."""
    import diffusers

    folder = weights_file(file.path, file.label, VAE).parent
    kind = getattr(diffusers, _config(folder, file.label)["_class_name"])
    return kind.from_pretrained(folder, torch_dtype=dtype, use_safetensors=True)


def load_controlnet(parts: Iterable[PartFile], dtype: Any) -> Any:
    """The model's ControlNet in this dtype, on the CPU; None where it has none."""
    import diffusers

    file = next((file for file in parts if file.part.kind == CONTROLNET), None)
    if file is None:
        return None
    folder = weights_file(file.path, file.label, CONTROLNET).parent
    return diffusers.ControlNetModel.from_pretrained(folder, torch_dtype=dtype, use_safetensors=True)


def load_inversions(pipe: Any, files: Iterable[PartFile]) -> None:
    """Add words to the tokenizers and their embeddings to the text encoders. Raises DarkroomError for a word that is
    there already."""
    from safetensors.torch import load_file

    for file in files:
        tensors = load_file(weights_file(file.path, file.label))
        for name, encoder in _embeddings(tensors, file.label).items():
            tokenizer = encoder.replace("text_encoder", "tokenizer")
            if file.part.name in getattr(pipe, tokenizer).get_vocab():
                raise DarkroomError(
                    f"{file.label}: its word {file.part.name!r} is one that the model knows; give another as token=..."
                )
            with warnings.catch_warnings(action="ignore"):
                pipe.load_textual_inversion(
                    {file.part.name: tensors[name]},
                    token=file.part.name,
                    text_encoder=getattr(pipe, encoder),
                    tokenizer=getattr(pipe, tokenizer),
                )


# Weights of a denoiser -----------------------------------------------------------------------------------------------


def gguf_part(ref: ModelRef, index: Mapping[str, Any]) -> PartFile:
    """The file with its digest. `index`: the model's model_index.json. Raises DarkroomError where it cannot be used."""
    label = f"model.gguf={ref.gguf}"
    if find_spec("gguf") is None:
        raise DarkroomError(f"{label} needs the package gguf; run `pip install 'darkroom[gguf]'`")
    if ref.dtype == FLOAT8:
        raise DarkroomError(f"{label}: model.dtype={FLOAT8} is of the same layers; leave one of them out")
    _kind_of(index, label)
    file = weights_file(str(ref.gguf), label, GGUF)
    _gguf_tensors(file, label)
    return digested(GGUF, file.stem, str(ref.gguf))


def gguf_of(parts: Iterable[PartFile]) -> PartFile | None:
    return next((file for file in parts if file.part.kind == GGUF), None)


def denoiser_of(index: Mapping[str, Any]) -> str | None:
    """The component whose weights such a file has; None where the model has none that diffusers can load so."""
    components = components_of(index)
    return next((name for name in _DENOISERS if components.get(name) == "diffusers"), None)


@loads_models
def _kind_of(index: Mapping[str, Any], label: str) -> Any:
    import diffusers
    from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

    name = denoiser_of(index)
    found = index[name][1] if name else f"model that is a {index.get('_class_name')}"
    if found not in SINGLE_FILE_LOADABLE_CLASSES:
        raise DarkroomError(f"{label}: diffusers loads no {found} from such a file; leave it out")
    return getattr(diffusers, found)


def _gguf_tensors(file: Path, label: str) -> list[Any]:
    """What is in it, without its bytes."""
    from gguf import GGUFReader

    try:
        return list(GGUFReader(file).tensors)
    except Exception as error:  # it raises what it likes
        raise DarkroomError(f"{label} cannot be read as GGUF ({first_line(error)}); copy it anew") from error


def gguf_tensors(part: PartFile) -> dict[str, StoredTensor]:
    """Its tensors as so many bytes each, which they take when they are loaded too."""
    found = _gguf_tensors(weights_file(part.path, part.label, GGUF), part.label)
    return {each.name: StoredTensor(_BYTES, (int(each.n_bytes),), 0, int(each.n_bytes)) for each in found}


def gguf_layer(part: PartFile) -> dict[str, StoredTensor]:
    """Its largest tensor in the numbers that it is computed in, as it is held while its layer computes."""
    found = _gguf_tensors(weights_file(part.path, part.label, GGUF), part.label)
    largest = max(found, key=lambda each: int(each.n_elements))
    return {largest.name: StoredTensor("F32", tuple(map(int, largest.shape)), 0, 0)}


@loads_models
def load_gguf(part: PartFile, folder: Path, index: Mapping[str, Any], dtype: Any) -> dict[str, Any]:
    """Name -> the denoiser, configured as in the model's folder, computing in `dtype`."""
    import diffusers

    name, kind = denoiser_of(index), _kind_of(index, part.label)
    file = weights_file(part.path, part.label, GGUF)
    try:
        found = kind.from_single_file(
            str(file),
            config=str(folder),
            subfolder=name,
            quantization_config=diffusers.GGUFQuantizationConfig(compute_dtype=dtype),
            torch_dtype=dtype,
            local_files_only=True,
        )
    except Exception as error:  # diffusers raises what it likes for a file of another model
        raise DarkroomError(
            f"{part.label} is not read as a {kind.__name__} ({first_line(error)}); give a file that was made of this "
            "model's weights"
        ) from error
    missing = [tensor for tensor, value in found.state_dict().items() if value.is_meta]
    if missing:
        raise DarkroomError(f"{part.label} has no {missing[0]}; give a file with all weights of the {name}")
    return {str(name): found}
