"""From a configuration's list of extractors to their specs."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from omegaconf import OmegaConf

from darkroom.domain.errors import DarkroomError
from darkroom.features.extractor import ExtractorSpec

_KEYS = tuple(field.name for field in fields(ExtractorSpec) if field.name not in ("device", "seen"))


def extractor_specs(config: Iterable[Any], device: str) -> tuple[ExtractorSpec, ...]:
    """Each a name, such as `demo_clip`, or its keys, such as `{name: inception_v3, source: weights.pth}`."""
    specs = tuple(_spec(item, device) for item in config)
    if not specs:
        raise DarkroomError("extractors=[] names none; leave it out, or give some, such as [demo_clip]")
    return specs


def _spec(item: Any, device: str) -> ExtractorSpec:
    if isinstance(item, str):
        return ExtractorSpec(item, device=device)
    values: Any = OmegaConf.to_container(item, resolve=True) if OmegaConf.is_dict(item) else None
    if values is None or "name" not in values or set(values) - set(_KEYS):
        raise DarkroomError(f"extractors: {item} is none; give a name, or a name with {', '.join(_KEYS[1:])}")
    return ExtractorSpec(**values, device=device)
