"""The user's own cache as a store. Knows nothing of what is kept there."""

from pipeline.domain.cache import cache_folder
from pipeline.storage.local import LocalStore
from pipeline.storage.store import StoreSpec


def user_cache(name: str) -> LocalStore:
    """A part of it, by its name."""
    return LocalStore(StoreSpec(str(cache_folder(name))))
