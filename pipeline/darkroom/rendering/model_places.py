"""Where a model is: in a folder of this machine, on the hub, in an object store, or a configuration that comes along.

Its small files are brought to this machine first: they say whether it can be rendered with.

Those that a worker loads later are copied from an object store while it renders with its first.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import ModelRef
from darkroom.rendering.model_files import INDEX, SMALL_FILES, files_in, hub_snapshot
from darkroom.rendering.part_files import folder_of
from darkroom.rendering.shipped_configurations import CONFIGURATIONS, configuration_folder
from darkroom.storage.store import check_slashes, is_in_object_store, is_remote

if TYPE_CHECKING:
    from darkroom.rendering.inspected_model import InspectedModel
    from darkroom.rendering.remote_files import RemoteModel

SETTING = "model.repo_id"


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
