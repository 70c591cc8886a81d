"""Checkpoints of one file: all weights of a model under the names of its first authors, as .safetensors.

Such a file is made into a folder in diffusers' layout once, in the user's cache, by the configuration of a model of its
kind. What is loaded is that folder. What the model is called by is the file and the configuration, whatever versions of
libraries write the folder.
"""

import json
import os
import shutil
import time
from importlib.metadata import version
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from darkroom.domain.errors import DarkroomError
from darkroom.domain.files import cache_folder
from darkroom.domain.identity import digest
from darkroom.rendering.loading import loads_models
from darkroom.rendering.model_facts import pipeline_of
from darkroom.rendering.model_files import INDEX, file_digests, folder_revision, shaping_files
from darkroom.rendering.part_files import header, weights_file
from darkroom.rendering.stored_dtype import bytes_by_dtype, dtype_of, local_header

_SMALL = (".json", ".txt", ".model")  # endings of what is read of a configuration on the hub
_SIZES = ".darkroom.json"  # name -> bytes of each file of a conversion, written last
_ABANDONED_S = 24 * 3600.0  # a conversion that was begun so long ago was killed


def revision_of(path: str, configuration: Path, is_on_hub: bool) -> str:
    """ "sha256:..." of a checkpoint and of its configuration, a folder in diffusers' layout. Weights in a local one
    count, since they serve for components that the checkpoint does not hold."""
    file = weights_file(path, _label(path))
    header(file, _label(path))  # refused before it is read whole
    names = _names(configuration, is_on_hub)
    mine, *others = file_digests([file, *(configuration / name for name in names)])
    return folder_revision({"": mine, **dict(zip(names, others, strict=True))})


def converted(path: str, configuration: Path, is_on_hub: bool, class_name: str, revision: str) -> Path:
    """The folder of a checkpoint, named as its file; `revision` as `revision_of` says."""
    file = weights_file(path, _label(path))
    name = digest("single file", revision, version("diffusers"), version("transformers"))
    folder = cache_folder("single_files") / name / file.stem
    if not _is_whole(folder):
        _convert(file, configuration, _names(configuration, is_on_hub), class_name, folder, _label(path))
    return folder


def _label(path: str) -> str:
    return f"model.single_file={path}"


def _names(configuration: Path, is_on_hub: bool) -> list[str]:
    return [name for name in shaping_files(configuration, False) if not is_on_hub or Path(name).suffix in _SMALL]


def _is_whole(folder: Path) -> bool:
    try:
        sizes = json.loads((folder / _SIZES).read_text())
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


@loads_models
def _convert(file: Path, configuration: Path, names: list[str], class_name: str, folder: Path, label: str) -> None:
    """Whole or not at all: in a folder beside, which is renamed at the end."""
    pipeline = pipeline_of(class_name)
    if not hasattr(pipeline, "from_single_file"):
        raise DarkroomError(f"{label}: a {class_name} is not read from one file; give a folder in diffusers' layout")
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder.parent)
    unfinished = Path(mkdtemp(prefix=".", dir=folder.parent))
    try:
        _copy(configuration, names, unfinished / ".configuration")
        _loaded(pipeline, file, unfinished / ".configuration", label).save_pretrained(unfinished)
        shutil.rmtree(unfinished / ".configuration")
        sizes = {name: (unfinished / name).stat().st_size for name in shaping_files(unfinished, False)}
        (unfinished / _SIZES).write_text(json.dumps(sizes))
        unfinished.chmod(0o755)
        if folder.exists() and not _is_whole(folder):
            shutil.rmtree(folder)
        os.rename(unfinished, folder)  # noqa: PTH104 - refuses a folder with files in it
    except OSError:
        if not _is_whole(folder):  # else another process was first
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _copy(configuration: Path, names: list[str], folder: Path) -> None:
    """What is read of it, without pickles and code: weights as links."""
    for name in (INDEX, *names):
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            place.symlink_to((configuration / name).resolve())


def _remove_abandoned(folder: Path) -> None:
    for path in folder.glob(".*"):
        if time.time() - path.stat().st_mtime > _ABANDONED_S:
            shutil.rmtree(path, ignore_errors=True)


def _loaded(pipeline: Any, file: Path, configuration: Path, label: str) -> Any:
    import torch

    dtype = getattr(torch, dtype_of(bytes_by_dtype(local_header(file))))
    try:
        return pipeline.from_single_file(str(file), config=str(configuration), local_files_only=True, dtype=dtype)
    except Exception as error:  # diffusers raises what it likes for a file that is no such model
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DarkroomError(
            f"{label} is not read as a {pipeline.__name__} ({line}); give the configuration of a model of its kind as "
            "model.repo_id"
        ) from error
