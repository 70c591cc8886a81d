"""Other VAEs and textual inversions: checked against the model by their small files and headers, and loaded."""

import json
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from darkroom.domain.adapters import INVERSIONS, VAE, InversionRef
from darkroom.domain.errors import DarkroomError
from darkroom.rendering.part_files import CONFIG, PartFile, digested, weights_file
from darkroom.rendering.stored_tensors import header

_SAME = ("_class_name", "latent_channels")  # of two VAEs that decode the same latents; and as many blocks
# What a file of embeddings may call them, where it has no word of its own -> the text encoder that they are for.
_ENCODERS = {"emb_params": "text_encoder", "clip_l": "text_encoder", "clip_g": "text_encoder_2"}


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


def _config(folder: Path, label: str) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / CONFIG).read_bytes()))
    except (OSError, ValueError) as error:
        raise DarkroomError(f"{label}: {CONFIG} of its VAE cannot be read ({error}); copy it anew") from None


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
