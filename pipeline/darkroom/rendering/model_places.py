"""Where a model is: in a folder of this machine, on the hub, in an object store, or a configuration that comes along.

Its small files are brought to this machine first: they say whether it can be rendered with.

Those that a worker loads later are copied from an object store while it renders with its first.

Configurations that come along are of models whose checkpoints are passed around as one file. Each is a JSON file in
`configurations`: the name of a file in diffusers' layout -> what it says, in the numbers that the model was published
with. CLIP's byte-pair merges lie beside them, and its tokenizers' vocabulary follows from them.
"""

import json
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest
from darkroom.domain.process import cache_folder
from darkroom.domain.settings import ModelRef
from darkroom.rendering.loading import loads_models
from darkroom.rendering.model_files import INDEX, SMALL_FILES, files_in, hub_snapshot
from darkroom.rendering.part_files import folder_of, weights_file
from darkroom.rendering.stored_tensors import StoredTensor, header
from darkroom.storage.store import check_slashes, is_in_object_store, is_remote

if TYPE_CHECKING:
    from darkroom.rendering.inspected_model import InspectedModel
    from darkroom.rendering.remote_files import RemoteModel

SETTING = "model.repo_id"
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


@dataclass(frozen=True)
class Place:
    """A model that was found."""

    folder: Path  # of this machine, with its small files
    source: str  # folder, hub id, address or name of a configuration: what finds it on any machine
    commit: str | None = None  # of the hub
    remote: "RemoteModel | None" = None  # in an object store

    @property
    def name(self) -> str:
        """In images and records, which are read where a path or an address means nothing."""
        if self.commit:
            return self.source
        name = self.source.rpartition("/")[2] if self.remote else self.folder.resolve().name
        return name or "model"

    def names(self) -> list[str]:
        """Of all its files, whether they are here or not."""
        if self.commit:
            return _hub_files(self.source, self.commit)
        if self.remote:
            return list(self.remote.names)
        return [path.relative_to(self.folder).as_posix() for path in files_in(self.folder, frozenset())]

    def whole(self) -> Path:
        """The folder with its weights too, but for those of the hub, which are downloaded where they are loaded."""
        return self.remote.whole() if self.remote else self.folder


def place_of(ref: ModelRef) -> Place:
    """Raises DarkroomError where there is no such model."""
    check_slashes(ref.repo_id, SETTING)
    if ref.repo_id in CONFIGURATIONS:
        return Place(configuration_folder(ref.repo_id), ref.repo_id)
    if Path(ref.repo_id).is_dir():
        return Place(Path(ref.repo_id), ref.repo_id)
    if is_in_object_store(ref.repo_id):
        return _in_store(ref)
    if "://" in ref.repo_id:  # not repeated: it may hold a token
        raise DarkroomError(
            f"{SETTING} is an address, and of no object store; give a folder, s3://bucket/... (or gs://, az://), or a "
            "hub id, and a token in HF_TOKEN"
        )
    return _on_hub(ref)


def folder_here(repo_id: str, commit: str) -> Path | None:
    """A model's small files, where this machine has them: nothing is fetched. None where it does not."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if repo_id in CONFIGURATIONS:
        return configuration_folder(repo_id)
    if Path(repo_id).is_dir():
        return Path(repo_id)
    try:
        cached = try_to_load_from_cache(repo_id, INDEX, revision=commit)
    except HFValidationError:  # an address, or a folder that is not there
        return None
    return Path(cached).parent if isinstance(cached, str) else None


def _in_store(ref: ModelRef) -> Place:
    from darkroom.rendering.remote_files import remote_model  # with the clouds' client

    found = remote_model(ref.repo_id, SETTING, ref.trust_remote_code)
    return Place(found.small(), ref.repo_id, remote=found)


def _on_hub(ref: ModelRef) -> Place:
    """Download its small files only, or find them in the cache."""
    if ref.repo_id.startswith((".", "/", "~")) or ref.repo_id.count("/") > 1:
        raise DarkroomError(f"{SETTING}={ref.repo_id}: no such folder; give a folder that is there, or a hub id")
    said = f"{SETTING}={ref.repo_id}: neither a local folder"
    check = "the name, the revision, the network and, for a gated model, `hf auth login`"
    folder = hub_snapshot(ref.repo_id, SMALL_FILES, said, check, ref.revision)
    return Place(folder, ref.repo_id, folder.name)


def _hub_files(repo_id: str, commit: str) -> list[str]:
    """Names of all files of the commit; of those in the cache where the hub cannot be reached."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        return HfApi().list_repo_files(repo_id, revision=commit)
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError):
        folder = Path(snapshot_download(repo_id, revision=commit, local_files_only=True))
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*")]


def index_here(repo_id: str, commit: str) -> Path:
    """The folder of this machine with at least the model_index.json of a hub model."""
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(repo_id, INDEX, revision=commit)).parent


# Ahead of their use --------------------------------------------------------------------------------------------------


def prefetch(models: Sequence["InspectedModel"]) -> None:
    """Begin, in a thread that ends with the process. What fails is copied, and its failure told, where it is loaded."""
    remote = [model for model in models if is_remote(model.source) or any(is_remote(part.path) for part in model.parts)]
    if remote:
        threading.Thread(target=_copy_models, args=(remote,), name="prefetch", daemon=True).start()


def _copy_models(models: Sequence["InspectedModel"]) -> None:
    from darkroom.rendering.remote_files import remote_model  # with the clouds' client

    for model in models:
        with suppress(DarkroomError, OSError):
            if is_remote(model.source) and not model.single_file:
                remote_model(model.source, SETTING, model.identity.trust_remote_code).whole()
            for part in model.parts:
                if is_remote(part.path):
                    folder_of(part.part.kind, part.path, part.label)


# Configurations that come along --------------------------------------------------------------------------------------


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
