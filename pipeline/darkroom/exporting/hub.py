"""An exported dataset uploaded to a repository of the Hugging Face hub: only what is not there yet, part by part, and
last what says that it is whole.

huggingface_hub makes every request. Each file is held against SHA256SUMS as it is read; in memory are a few files.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from darkroom.domain.errors import DarkroomError, TryAgain, first_line
from darkroom.exporting.shards import ExportedFile
from darkroom.exporting.writing import CARD_KEY, COPIES_KEY, CROISSANT_KEY, EXPORT_KEY, SUMS_KEY
from darkroom.runs.encoding import sha256_of
from darkroom.storage.store import NotFound, Store

if TYPE_CHECKING:  # loads in a second
    from huggingface_hub.hf_api import RepoFile

TOKEN = "HF_TOKEN"  # the environment variable by which the hub's own tools take a token
_REPO = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")
_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9_.=/-]+)")
_LAST = (EXPORT_KEY, COPIES_KEY, CARD_KEY, CROISSANT_KEY, SUMS_KEY)
_HUBS = (".gitattributes",)  # files that the hub makes itself
_MOST_FILES, _MOST_BYTES = 200, 256 << 20  # of a part that is uploaded and committed at once


@dataclass(frozen=True)
class Uploaded:
    """So many files are in the repository by now."""

    num_done: int
    num_files: int
    num_bytes: int  # that were uploaded


def check_repo(repo_id: str) -> None:
    if not _REPO.fullmatch(repo_id):
        raise DarkroomError(f"repo_id={repo_id}: no repository of the hub; give its owner and name, such as me/circles")


def listed(store: Store) -> list[ExportedFile]:
    """Of a whole export, SHA256SUMS last. Raises DarkroomError where it is none, or is not whole."""
    try:
        data = store.get(SUMS_KEY)
    except NotFound:
        raise DarkroomError(
            f"dataset={store.spec.uri}: no {SUMS_KEY} lies there, which is written last; export to it with `darkroom "
            "export`, to its end"
        ) from None
    lines = [_LINE.fullmatch(line) for line in data.decode("utf-8", "replace").splitlines()]
    if not lines or not all(lines):
        raise DarkroomError(f"{store.describe(SUMS_KEY)}: not readable as sums of files; give the export again")
    sums = {match[2]: match[1] for match in lines if match}
    sizes = {info.key: info.size_bytes for info in store.list() if info.key in sums}
    for key in sums:
        if key not in sizes:
            raise DarkroomError(f"{store.describe(key)} is missing; give the command of the export again")
    keys = sorted(sums, key=lambda key: (key in _LAST, key))
    return [*(ExportedFile(key, sums[key], sizes[key]) for key in keys),
            ExportedFile(SUMS_KEY, sha256_of(data), len(data))]  # fmt: skip


class Hub:
    """One dataset repository."""

    def __init__(self, repo_id: str, token: str, endpoint: str | None) -> None:
        from huggingface_hub import HfApi

        self._repo_id = repo_id
        self._named: dict[str, Any] = {"repo_id": repo_id, "repo_type": "dataset"}
        self._api = HfApi(endpoint=endpoint, token=token)
        self.url = f"{self._api.endpoint}/datasets/{repo_id}"

    def ready(self, is_private: bool) -> bool:
        """Make the repository where it is not there; whether it is private.

        Raises DarkroomError where it is public, and was to be private.
        """
        with _explained(self._repo_id):
            if not self._api.repo_exists(**self._named):
                self._api.create_repo(**self._named, private=is_private, exist_ok=True)
            found = self._api.repo_info(**self._named)
        if is_private and not found.private:
            raise DarkroomError(
                f"repo_id={self._repo_id}: the repository is public; give private=false to put the dataset before "
                "everybody, or another repo_id"
            )
        return bool(found.private)

    def there(self) -> "dict[str, RepoFile]":
        """Files of the repository by their paths."""
        from huggingface_hub.hf_api import RepoFile

        with _explained(self._repo_id):
            found = self._api.list_repo_tree(**self._named, recursive=True)
            return {each.path: each for each in found if isinstance(each, RepoFile)}

    def upload(
        self, store: Store, files: Sequence[ExportedFile], stale: Sequence[str], told: Callable[[ExportedFile], None]
    ) -> None:
        """As one commit, of what is another there; `stale`: files that are removed with it."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        added = []
        with _explained(self._repo_id):
            for group in _groups(files, _MOST_FILES, _MOST_BYTES):
                operations = [CommitOperationAdd(file.key, _read(store, file)) for file in group]
                self._api.preupload_lfs_files(**self._named, additions=operations)
                added += operations
                for file in group:
                    told(file)
            removed = [CommitOperationDelete(key, is_folder=False) for key in stale]
            message = f"Add {len(files):,} and remove {len(stale):,} files of a dataset made with Darkroom"
            self._api.create_commit(**self._named, operations=[*removed, *added], commit_message=message)


def _read(store: Store, file: ExportedFile) -> bytes:
    data = store.get(file.key)
    if sha256_of(data) != file.sha256:
        raise DarkroomError(
            f"{store.describe(file.key)}: not what {SUMS_KEY} says, so it was damaged or edited; remove it, and give "
            "the command of the export again"
        )
    return data


def parts(store: Store, files: Sequence[ExportedFile], there: "Mapping[str, RepoFile]") -> list[list[ExportedFile]]:
    """What is not there yet, in commits; what says that all is whole comes with the last one."""
    missing = [file for file in files if not _is_equal(store, file, there.get(file.key))]
    early = [file for file in missing if file.key not in _LAST]
    late = [file for file in missing if file.key in _LAST]
    return [*_groups(early, _MOST_FILES, 16 * _MOST_BYTES), *([late] if late else [])]


def _is_equal(store: Store, file: ExportedFile, found: "RepoFile | None") -> bool:
    """A small file is known by its git blob alone, the SHA-1 of its header and its bytes."""
    if found is None or found.size != file.size_bytes:
        return False
    if found.lfs:
        return found.lfs.sha256 == file.sha256
    data = _read(store, file)
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == found.blob_id


def foreign(files: Sequence[ExportedFile], there: "Mapping[str, RepoFile]") -> list[str]:
    """Files of the repository that are not of the dataset: readers would take some for its own."""
    own = {file.key for file in files}
    return [key for key in there if key not in own and key not in _HUBS]


def foreign_card(there: "Mapping[str, RepoFile]") -> list[str]:
    """The repository's card where somebody else wrote it: one of a dataset comes with its sums, in one commit."""
    return [CARD_KEY] if CARD_KEY in there and SUMS_KEY not in there else []


def _groups(files: Sequence[ExportedFile], most: int, most_bytes: int) -> Iterator[list[ExportedFile]]:
    group: list[ExportedFile] = []
    for file in files:
        if group and (len(group) >= most or sum(each.size_bytes for each in group) + file.size_bytes > most_bytes):
            yield group
            group = []
        group.append(file)
    if group:
        yield group


@contextmanager
def _explained(repo_id: str) -> Iterator[None]:
    """What the hub answers, as one line with a remedy."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    # Of whichever client it has.
    unreachable: tuple[Any, ...] = tuple(kind for kind in HfHubHTTPError.__bases__ if kind is not OSError)

    try:
        yield
    except HFValidationError as error:
        raise DarkroomError(f"repo_id={repo_id}: {first_line(error)}") from None
    except HfHubHTTPError as error:
        code = error.response.status_code if error.response is not None else 0
        if code in (401, 403, 404):
            raise DarkroomError(
                f"repo_id={repo_id}: the hub refuses it ({code}); {TOKEN} needs the right to write to that owner's "
                "repositories"
            ) from None
        kind = TryAgain if code >= 500 or code == 429 else DarkroomError
        raise kind(f"repo_id={repo_id}: the hub answers {first_line(error)}") from None
    except OfflineModeIsEnabled as error:
        raise DarkroomError(f"repo_id={repo_id}: {first_line(error)}; unset HF_HUB_OFFLINE") from None
    except unreachable as error:
        raise TryAgain(f"repo_id={repo_id}: the hub cannot be reached ({first_line(error)})") from None
    except RuntimeError as error:  # of a file that was on its way
        raise TryAgain(f"repo_id={repo_id}: {first_line(error)}; the same command goes on") from None
    except ValueError as error:
        if isinstance(error, DarkroomError):
            raise
        raise DarkroomError(f"repo_id={repo_id}: {' '.join(str(error).split())}") from None
