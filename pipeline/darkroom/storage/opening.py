"""Which store an address names, and the user's own cache as a store."""

from darkroom.domain.files import cache_folder
from darkroom.storage.local import LocalStore
from darkroom.storage.store import Store, StoreSpec


def open_store(spec: StoreSpec) -> Store:
    """The store at this address; nothing is read or written yet."""
    if spec.is_remote:
        from darkroom.storage.objects import ObjectStore  # the clouds' client only where it is needed

        return ObjectStore(spec)
    return LocalStore(spec)


def user_cache(name: str) -> LocalStore:
    """A part of the user's cache, by its name."""
    return LocalStore(StoreSpec(str(cache_folder(name))))
