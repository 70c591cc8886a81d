"""Uploads a dataset that was exported to the Hugging Face hub: only where a person asks for it, private by default."""

import os
from dataclasses import dataclass

from darkroom.api.events import Noted, Progress
from darkroom.api.run import store_at
from darkroom.domain.errors import DarkroomError
from darkroom.exporting.hub import TOKEN, Hub, Uploaded, check_repo, foreign, foreign_card, listed, parts
from darkroom.exporting.shards import ExportedFile

_ENDPOINT = "HF_ENDPOINT"  # the environment variable that names another hub than huggingface.co


@dataclass(frozen=True)
class Push:
    """A dataset that is in a repository."""

    url: str
    is_private: bool
    num_files: int
    num_before: int  # that were there already
    num_bytes: int  # that were uploaded


def push(
    dataset: str, repo_id: str, private: bool, replace: bool, endpoint_url: str | None, progress: Progress
) -> Push:
    """Upload what is not there yet, or go on with it.

    Raises DarkroomError, before anything is uploaded, for a dataset that is not whole, a repository that others see or
    that holds other files, and a token that does not do.
    """
    check_repo(repo_id)
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise DarkroomError(
            f"{TOKEN} is not set; set it to a token of the hub that may write, and give the same command again"
        )
    store = store_at(dataset, endpoint_url, "dataset")
    files = listed(store)
    hub = Hub(repo_id, token, os.environ.get(_ENDPOINT) or None)
    is_private = hub.ready(private)
    if is_private and not private:
        progress(Noted(f"{repo_id} is private, and stays so; make it public on the hub"))
    there = hub.there()
    stale = foreign(files, there)
    if (others := [*stale, *foreign_card(there)]) and not replace:
        more = f" and {len(others) - 1:,} more" if others[1:] else ""
        raise DarkroomError(
            f"repo_id={repo_id}: {others[0]}{more} there: not of this "
            "dataset, and who loads it would read it; give replace=true to remove such files, or another repo_id"
        )
    commits = parts(store, files, there) or ([[]] if stale else [])
    num_done = num_before = len(files) - sum(map(len, commits))
    num_bytes = 0
    if num_before:
        progress(Noted(f"{num_before:,} of {len(files):,} files are there already"))

    def told(file: ExportedFile) -> None:
        nonlocal num_bytes
        num_bytes += file.size_bytes

    for place, part in enumerate(commits, 1):
        hub.upload(store, part, stale if place == len(commits) else (), told)
        num_done += len(part)
        progress(Uploaded(num_done, len(files), num_bytes))
    return Push(hub.url, is_private, len(files), num_before, num_bytes)
