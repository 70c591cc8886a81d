"""Stores that watch what is done to them."""

from collections import Counter

from darkroom.storage.store import Store


class CountingStore:
    """Counts what is fetched."""

    def __init__(self, store: Store) -> None:
        self._store, self.fetched = store, Counter()

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    def get(self, key: str) -> bytes:
        self.fetched[key] += 1
        return self._store.get(key)
