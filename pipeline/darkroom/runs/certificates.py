"""Certificates of models: one JSON file each, in the user's cache by what they are of, and in runs by their model.

A run keeps the certificate that a model had when its first image was to be made, or that it had none: what it decides,
how batches may be made, is the same for all images of the run, whatever is tested later.
"""

import json
from dataclasses import asdict
from typing import Any

from darkroom.domain.certificates import PROMISES, Certificate
from darkroom.domain.errors import DarkroomError, first_line
from darkroom.domain.identity import ModelIdentity, digest
from darkroom.runs.files import CERTIFICATES_PREFIX, from_json, to_json
from darkroom.storage.store import NotFound, Store


def put_certificate(store: Store, key: str, certificate: Certificate) -> None:
    """In the place of an earlier one of the same."""
    store.put(_name(key), to_json(asdict(certificate)), "application/json")


def cached_certificate(store: Store, key: str) -> Certificate | None:
    """Of a cache. None where there is none, or none that this version reads: it is made anew."""
    try:
        return _parsed(json.loads(store.get(_name(key))))
    except (NotFound, ValueError, KeyError, TypeError):
        return None


def _settled_certificate(store: Store, key: str) -> Certificate | None:
    """Of a run. None where it had none. Raises NotFound where that is not settled, DarkroomError for what is broken."""
    data = store.get(_name(key))
    try:
        found = json.loads(data)
        return None if found is None else _parsed(found)
    except (ValueError, KeyError, TypeError) as error:
        raise DarkroomError(
            f"{store.describe(_name(key))}: not readable as a certificate ({first_line(error)}), which says how "
            "batches of the run are made; restore it"
        ) from error


def settle_certificate(store: Store, model: ModelIdentity, certificate: Certificate | None) -> Certificate | None:
    """What the run at `store` goes by for this model: this one, or what was there first."""
    text = to_json(None if certificate is None else asdict(certificate))
    store.put_if_absent(_name(model_key(model)), text, "application/json")
    return _settled_certificate(store, model_key(model))


def settled_certificate(store: Store, model: ModelIdentity) -> Certificate | None:
    """What the run at `store` goes by for this model. Raises NotFound where that is not settled."""
    return _settled_certificate(store, model_key(model))


def certificates(store: Store) -> list[Certificate]:
    """All of a run, by their models."""
    keys = (
        info.key.removeprefix(CERTIFICATES_PREFIX).removesuffix(".json") for info in store.list(CERTIFICATES_PREFIX)
    )
    found = (_settled_certificate(store, key) for key in keys)
    return sorted(filter(None, found), key=lambda certificate: (certificate.model, certificate.created_at))


def model_key(model: ModelIdentity) -> str:
    """Of what is loaded: LoRAs are switched."""
    parts = [asdict(part) for part in model.base.parts]
    lossy = [model.lossy] if model.lossy else []
    return digest("certificate", model.revision, model.variant, model.dtype, model.trust_remote_code, parts, *lossy)


def _parsed(value: dict[str, Any]) -> Certificate:
    found = from_json(Certificate, value)
    if any(check.promise not in PROMISES for check in found.checks):
        raise ValueError("it has a promise that this version does not know")
    return found


def _name(key: str) -> str:
    return f"{CERTIFICATES_PREFIX}{key}.json"
