"""Configurations that come with Darkroom: of models whose checkpoints are passed around as one file.

Each is a JSON file in `configurations`: the name of a file in diffusers' layout -> what it says, in the numbers that
the model was published with. CLIP's byte-pair merges lie beside them, and its tokenizers' vocabulary follows from them.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest
from darkroom.domain.process import cache_folder
from darkroom.rendering.loading import loads_models
from darkroom.rendering.part_files import weights_file
from darkroom.rendering.stored_tensors import StoredTensor, header

_FOLDER = Path(__file__).with_name("configurations")
_PREFIX = "darkroom/"  # of what comes along
CONFIGURATIONS = tuple(f"{_PREFIX}{path.stem}" for path in sorted(_FOLDER.glob("*.json")))
# What diffusers calls the kinds of checkpoints -> their configurations.
_OF_KINDS: Mapping[str, tuple[str, ...]] = {
    "v1": ("darkroom/sd15",),
    "v2": ("darkroom/sd21", "darkroom/sd21-base"),
    "xl_base": ("darkroom/sdxl",),
}
_BYTES = [*map(chr, (*range(33, 127), *range(161, 173), *range(174, 324)))]  # one printable character for each
_END = "</w>"  # of a word
_VELOCITY = "v_pred"  # a tensor of SDXL's finetunes that predict velocities; their files differ in nothing else


# Which one -----------------------------------------------------------------------------------------------------------


def configuration_of(single_file: str) -> str | None:
    """The name of the configuration that a checkpoint is of; None where nothing is known of its kind.

    Raises DarkroomError for a kind of which there is none, or several.
    """
    label = f"model.single_file={single_file}"
    tensors = header(weights_file(single_file, label), label)
    kind = _kind_of(tensors)
    found = _OF_KINDS.get(kind or "", ())
    if kind is None or (len(found) == 1 and _VELOCITY not in tensors):
        return found[0] if found else None
    if found and _VELOCITY not in tensors:
        raise DarkroomError(
            f"{label} may be of either of {' and '.join(found)}, whose files do not differ, and of which the first "
            "predicts velocities; give one of them as model.repo_id"
        )
    what = "predicts velocities" if found else f"is of the kind {kind}"
    raise DarkroomError(
        f"{label} {what}, and no configuration of that comes with Darkroom; give one, a folder in diffusers' layout or "
        "a hub id, as model.repo_id"
    )


@loads_models
def _kind_of(tensors: Mapping[str, StoredTensor]) -> str | None:
    """By diffusers' names, which takes what it does not know for SD 1.x."""
    from diffusers.loaders.single_file_utils import CHECKPOINT_KEY_NAMES, infer_diffusers_model_type

    kind = str(infer_diffusers_model_type(tensors))
    return None if kind == "v1" and CHECKPOINT_KEY_NAMES["v1"] not in tensors else kind


# As a folder ---------------------------------------------------------------------------------------------------------


def configuration_folder(name: str) -> Path:
    """One of CONFIGURATIONS in diffusers' layout, without weights: in the user's cache, where it is written unless it
    is there as it should be."""
    files = dict(_files(name))
    folder = cache_folder("configurations") / digest("configuration", files) / name.removeprefix(_PREFIX)
    if not _is_whole(folder, files):
        try:
            _write(folder, files)
        except OSError as error:
            if not _is_whole(folder, files):  # else another process was first
                raise DarkroomError(
                    f"{name} cannot be written to {folder.parent} ({error.strerror}); make room there and make it "
                    "writable, or name another cache as XDG_CACHE_HOME"
                ) from error
    return folder


def _files(name: str) -> Iterator[tuple[str, str]]:
    """(name, text) of each file."""
    found: dict[str, Any] = json.loads((_FOLDER / f"{name.removeprefix(_PREFIX)}.json").read_text("utf-8"))
    for path, values in found.items():
        yield path, json.dumps(values, indent=2)
        if values.get("tokenizer_class") == "CLIPTokenizer":
            merges = (_FOLDER / "clip_merges.txt").read_text("utf-8")
            place = Path(path).parent.as_posix()
            yield f"{place}/merges.txt", merges
            yield f"{place}/vocab.json", json.dumps(clip_vocabulary(merges.splitlines()[1:]), ensure_ascii=False)


def clip_vocabulary(merges: Sequence[str]) -> dict[str, int]:
    """Symbol -> its number: bytes, bytes that end a word, what the merges make in their order, start and end."""
    symbols = [*_BYTES, *(each + _END for each in _BYTES), *(merge.replace(" ", "") for merge in merges)]
    return {symbol: number for number, symbol in enumerate([*symbols, "<|startoftext|>", "<|endoftext|>"])}


def _is_whole(folder: Path, files: Mapping[str, str]) -> bool:
    try:
        return all((folder / name).read_text("utf-8") == text for name, text in files.items())
    except (OSError, ValueError):
        return False


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """In a folder beside, which is renamed at the end."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(mkdtemp(prefix=".writing-", dir=folder.parent))
    try:
        for name, text in files.items():
            (unfinished / name).parent.mkdir(exist_ok=True)
            (unfinished / name).write_text(text, "utf-8")
        unfinished.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
