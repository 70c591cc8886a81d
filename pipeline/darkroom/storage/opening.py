"""Chooses the store that an address names. The only place that knows which ones there are."""

from darkroom.storage.local import LocalStore
from darkroom.storage.store import Store, StoreSpec


def open_store(spec: StoreSpec) -> Store:
    """The store at this address; nothing is read or written yet."""
    if spec.uri.startswith("s3://"):
        from darkroom.storage.s3 import S3Store  # boto3 only where it is needed

        return S3Store(spec)
    return LocalStore(spec)
