"""Values by which texts are known that may also be others, for completion and help: nothing is opened for them."""

from darkroom.metrics.reference_free import CLIP_CONVENTIONS
from darkroom.rendering.schedulers import DEFAULT, SCHEDULERS


def known_values(name: str) -> tuple[str, ...]:
    """Of the setting or option of this name; empty where any text goes."""
    known = {"scheduler": (DEFAULT, *SCHEDULERS), "clip_convention": tuple(CLIP_CONVENTIONS)}
    return known.get(name, ())
