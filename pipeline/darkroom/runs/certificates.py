"""Certificates of the models of a run, or of a cache: one JSON file each, named by a digest of what it is of."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from darkroom.domain.certificates import PROMISES, Certificate
from darkroom.runs.files import CERTIFICATES_PREFIX, from_json, to_json
from darkroom.storage.store import NotFound, Store


def put_certificate(store: Store, key: str, certificate: Certificate) -> None:
    """In the place of an earlier one of the same."""
    store.put(_name(key), to_json(asdict(certificate)), "application/json")


def get_certificate(store: Store, key: str) -> Certificate | None:
    """None where there is none, or none that this version reads: it is made anew."""
    try:
        return _parsed(json.loads(store.get(_name(key))))
    except (NotFound, ValueError, KeyError, TypeError):
        return None


def certificates(store: Store) -> Iterator[Certificate]:
    """All of a run that this version reads, by their models."""
    keys = [
        info.key.removeprefix(CERTIFICATES_PREFIX).removesuffix(".json") for info in store.list(CERTIFICATES_PREFIX)
    ]
    found = [certificate for key in keys if (certificate := get_certificate(store, key))]
    return iter(sorted(found, key=lambda certificate: (certificate.model, certificate.created_at)))


def _parsed(value: dict[str, Any]) -> Certificate:
    found = from_json(Certificate, value)
    if any(check.promise not in PROMISES for check in found.checks):
        raise ValueError("it has a promise that this version does not know")
    return found


def _name(key: str) -> str:
    return f"{CERTIFICATES_PREFIX}{key}.json"
