"""Digests that name things: what a thing is decides its name, never when, where or by whom it was made."""

import hashlib
import json

_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)  # made once: three calls an image
NUM_SEEDS = 2**63  # int64 in Parquet; torch.Generator.manual_seed takes it whole


def digest(*parts: object, length: int = 32) -> str:
    """Hex digest (`length` characters of SHA-256) of JSON-like parts: equal values, equal digest, in any process."""
    return hashlib.sha256(_JSON.encode(parts).encode()).hexdigest()[:length]


def image_seed(run_seed: int, prompt_id: str, sample_index: int, row_seed: int | None = None) -> int:
    """Seed of one image's noise, in [0, 2**63).

    A row's own seed is used as it stands for the first sample and counted up for the next ones, as image tools do.
    """
    if row_seed is not None:
        return (row_seed + sample_index) % NUM_SEEDS
    return int(digest("seed", run_seed, prompt_id, sample_index, length=64), 16) % NUM_SEEDS


def image_id(cell_id: str, prompt_id: str, sample_index: int, seed: int) -> str:
    return digest("image", cell_id, prompt_id, sample_index, seed)


def shard_id(cell_id: str, fingerprint: str, start: int, stop: int) -> str:
    """Name of a range of prompt rows in one cell; a relaunch finds the same names."""
    return digest("shard", cell_id, fingerprint, start, stop)
