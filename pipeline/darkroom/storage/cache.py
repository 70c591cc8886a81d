"""The user's own cache as a store. Knows nothing of what is kept there."""

from darkroom.domain.files import cache_folder
from darkroom.storage.local import LocalStore
from darkroom.storage.store import StoreSpec


def user_cache(name: str) -> LocalStore:
    """A part of it, by its name."""
    return LocalStore(StoreSpec(str(cache_folder(name))))
