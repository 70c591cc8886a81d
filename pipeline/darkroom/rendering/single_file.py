"""Checkpoints of one file: all weights of a model under the names of its first authors, as .safetensors.

Such a file is made into a folder in diffusers' layout once, in the user's cache, by the configuration of a model of its
kind. What is loaded is that folder. What the model is called by is the file and the configuration, whatever versions of
libraries write the folder.
"""

import json
import os
import shutil
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from darkroom.domain.adapters import VAE
from darkroom.domain.errors import DarkroomError, first_line
from darkroom.domain.identity import digest
from darkroom.domain.process import cache_folder
from darkroom.rendering.loading import loads_models
from darkroom.rendering.model_facts import pipeline_of
from darkroom.rendering.model_files import INDEX, file_digests, folder_revision, shaping_files
from darkroom.rendering.part_files import CONFIG, weights_file
from darkroom.rendering.stored_tensors import header, main_dtype

_SMALL = (".json", ".txt", ".model")  # endings of what is read of a configuration
_DIGESTS = ".darkroom.json"  # of each file of a conversion, by its name; written last
_UNFINISHED = ".converting-"
_CHECKPOINT = "checkpoint.safetensors"  # a link to the file: diffusers reads what ends otherwise as a pickle
_ABANDONED_S = 24 * 3600.0  # a conversion that was begun so long ago was killed


@dataclass(frozen=True)
class SingleFile:
    """A checkpoint and what configures it, as any machine finds them."""

    path: str
    configuration: str  # folder, hub id, address or name of one that comes along
    commit: str | None  # of the hub's
    revision: str  # of both, see `revision_of`


def revision_of(path: str, configuration: Path) -> str:
    """ "sha256:..." of a checkpoint and of the small files of its configuration, a folder in diffusers' layout."""
    file = weights_file(path, _label(path))
    header(file, _label(path))  # refuses what is no such file before it is read whole
    names = _names(configuration)
    mine, *others = file_digests([file, *(configuration / name for name in names)])
    return folder_revision({"": mine, **dict(zip(names, others, strict=True))})


def converted(path: str, configuration: Path, class_name: str, revision: str) -> Path:
    """The folder of a checkpoint, named as its file; `revision` as `revision_of` says."""
    file = weights_file(path, _label(path))
    name = digest("single file", revision, version("diffusers"), version("transformers"))
    folder = cache_folder("single_files") / name / file.stem
    if not _is_whole(folder):
        try:
            _convert(file, configuration, class_name, folder, _label(path))
        except OSError as error:
            raise DarkroomError(
                f"{_label(path)}: it cannot be converted in {folder.parent} ({error.strerror}); make room there and "
                "make it writable, or name another cache as XDG_CACHE_HOME"
            ) from error
    return folder


def _label(path: str) -> str:
    return f"model.single_file={path}"


def _names(configuration: Path) -> list[str]:
    return [name for name in shaping_files(configuration, False) if Path(name).suffix in _SMALL]


def _digests(folder: Path) -> dict[str, str]:
    names = shaping_files(folder, False)
    return dict(zip(names, file_digests(folder / name for name in names), strict=True))


def _is_whole(folder: Path) -> bool:
    """Whether every file is as it was written. Digests are remembered, so that this reads no weights again."""
    try:
        return bool(json.loads((folder / _DIGESTS).read_bytes()) == _digests(folder))
    except (OSError, ValueError):
        return False


@loads_models
def _convert(file: Path, configuration: Path, class_name: str, folder: Path, label: str) -> None:
    """Whole or not at all: in a folder beside, which is renamed at the end."""
    pipeline = pipeline_of(class_name)
    if not hasattr(pipeline, "from_single_file"):
        raise DarkroomError(f"{label}: a {class_name} is not read from one file; give a folder in diffusers' layout")
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder.parent)
    unfinished = Path(mkdtemp(prefix=_UNFINISHED, dir=folder.parent))
    try:
        source = unfinished / ".source"
        _link(configuration, _names(configuration), source)
        (source / _CHECKPOINT).symlink_to(file.resolve())
        _save(pipeline, source, unfinished, label)
        shutil.rmtree(source)
        if not (unfinished / VAE).is_dir():
            _configure_vae(configuration, unfinished)
        (unfinished / _DIGESTS).write_text(json.dumps(_digests(unfinished)))
        unfinished.chmod(0o755)
        if folder.exists() and not _is_whole(folder):
            shutil.rmtree(folder)
        os.rename(unfinished, folder)  # noqa: PTH104 - refuses a folder with files in it
    except OSError:
        if not _is_whole(folder):  # else another process was first
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _link(configuration: Path, names: list[str], folder: Path) -> None:
    """What is read of it, without weights and code."""
    for name in (INDEX, *names):
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            place.symlink_to((configuration / name).resolve())


def _configure_vae(configuration: Path, folder: Path) -> None:
    """Say in the folder of a checkpoint without a VAE which kind it is for: another model's weights take its place."""
    index = json.loads((folder / INDEX).read_bytes())
    index[VAE] = json.loads((configuration / INDEX).read_bytes())[VAE]
    (folder / INDEX).write_text(json.dumps(index, indent=2))
    (folder / VAE).mkdir()
    shutil.copyfile(configuration / VAE / CONFIG, folder / VAE / CONFIG)


def _remove_abandoned(folder: Path) -> None:
    for path in folder.glob(f"{_UNFINISHED}*"):
        if time.time() - path.stat().st_mtime > _ABANDONED_S:
            shutil.rmtree(path, ignore_errors=True)


def _save(pipeline: Any, source: Path, folder: Path, label: str) -> None:
    """Write the pipeline of the checkpoint and the configuration in `source` to `folder`."""
    import torch
    from diffusers.loaders.single_file_utils import LDM_VAE_KEYS
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    for logging in (of_diffusers, of_transformers):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    file = source / _CHECKPOINT
    tensors = header(file, label)
    dtype = getattr(torch, main_dtype(tensors.values()))
    lacking = {} if any(name.startswith(tuple(LDM_VAE_KEYS)) for name in tensors) else {VAE: None}
    try:
        pipe = pipeline.from_single_file(str(file), config=str(source), local_files_only=True, dtype=dtype, **lacking)
        _check_complete(pipe)
        pipe.save_pretrained(folder)
    except OSError as error:
        if error.strerror:  # of the disk
            raise
        raise _unread(pipeline, error, label) from error
    except Exception as error:  # diffusers raises what it likes for a file that is no such model
        raise _unread(pipeline, error, label) from error


def _check_complete(pipe: Any) -> None:
    for name, part in pipe.components.items():
        for tensor, value in part.state_dict().items() if hasattr(part, "state_dict") else ():
            if value.is_meta:
                raise DarkroomError(f"it has no {tensor} of the {name}")


def _unread(pipeline: Any, error: Exception, label: str) -> DarkroomError:
    line = first_line(error)
    return DarkroomError(
        f"{label} is not read as a {pipeline.__name__} ({line}); give a file with all weights of the model, and the "
        "configuration of a model of its kind as model.repo_id"
    )
