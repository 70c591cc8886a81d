"""What a renderer of one's own says of itself before it is loaded: enough to check, name and price what is asked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from darkroom.domain.errors import DarkroomError, type_and_line
from darkroom.domain.setting_values import checked_table, checked_value
from darkroom.domain.settings import IMAGE_SETTINGS, SETTINGS, ModelRef, Value, settings_of

SIZE = ("height", "width")
_OF_MODEL = ("revision", "dtype", "variant")  # settings of the model that a renderer may take
_OF_SAMPLING = tuple(each.name for each in IMAGE_SETTINGS)
Make = TypeVar("Make", bound=Callable[..., Any])
Options = TypeVar("Options")


@dataclass(frozen=True)
class Description:
    """The settings that are not in `takes` are refused where a command gives them; the seed is always handed over."""

    name: str  # of the model, in images and records
    takes: tuple[str, ...] = SIZE  # settings of sampling and of the model that it looks at
    defaults: Mapping[str, Value] = field(default_factory=dict)  # what null stands for; the size, where it takes none
    sizes: tuple[tuple[int, int], ...] = ()  # (height, width) that it makes, and no others; empty: any
    schedulers: tuple[str, ...] = ()  # it takes besides "default"
    revision: str = ""  # of what its pixels depend on beside its code and options, such as a digest of its weights
    dtype: str = "float32"  # that it computes with, where it takes no dtype
    is_seeded: bool = True  # equal seeds give equal pixels, on the same software and device
    price: float | None = None  # of an image, in any currency; None: nothing is taken for it
    is_tried: bool = True  # `plan` may render a few images with it, to measure their time and size


@dataclass(frozen=True)
class PlugIn:
    """A renderer of one's own as it is named, and what it says of itself."""

    ref: ModelRef
    description: Description

    @property
    def name(self) -> str:
        """Of its function, such as my_module:make."""
        return self.ref.make or ""

    def default(self, name: str) -> Value:
        """What null stands for; None where it says nothing of it."""
        return self.description.defaults.get(name)

    def size_fault(self, height: int, width: int) -> str | None:
        """Why it makes no image of this size; None where it does."""
        sizes = self.description.sizes
        if not sizes or (height, width) in sizes:
            return None
        known = ", ".join(f"{across}x{down}" for down, across in sizes)
        return f"{width}x{height} is no size that {self.description.name} makes; give one of {known}"


def described_by(about: Callable[[ModelRef], Description], options: type | None = None) -> Callable[[Make], Make]:
    """Mark a function that makes renderers with what they say of themselves.

    about: from the model as the user names it, without loading anything. options: a table as those of
    `domain/settings.py`, whose fields `model.options` may have; None: it has none.
    """

    def marked(make: Make) -> Make:
        make.about, make.options = about, options  # type: ignore[attr-defined]
        return make

    return marked


def options_of(ref: ModelRef, table: type[Options]) -> Options:
    """The model's options as the table has them. Raises DarkroomError for what it has not."""
    return checked_table(table, ref.given_options, "model.options")


def description_of(make: Callable[..., Any], ref: ModelRef) -> Description:
    """What the function says of the renderer. Raises DarkroomError in one line where that cannot be used."""
    about, label = getattr(make, "about", None), f"model.make={ref.make}"
    if about is None:
        raise DarkroomError(f"{label}: it says nothing of itself; mark it with darkroom.rendering.described_by")
    _check_options(make, ref)
    try:
        found = about(ref)
    except DarkroomError:
        raise
    except Exception as error:
        raise DarkroomError(f"{label}: what describes it raised {type_and_line(error)}") from error
    fault = _fault(found)
    if fault:
        raise DarkroomError(f"{label}: {fault}")
    return found


def _check_options(make: Callable[..., Any], ref: ModelRef) -> None:
    table = make.options  # type: ignore[attr-defined]
    if table is not None:
        options_of(ref, table)
    elif ref.options:
        raise DarkroomError(f"model.options: {ref.make} has no options; leave it out")


def _fault(found: Any) -> str | None:
    if not isinstance(found, Description):
        return f"it is described by a {type(found).__name__}; give a Description"
    if not found.name or not isinstance(found.name, str):
        return f"Description.name={found.name!r}; give the name that images and records have for it"
    unknown = [name for name in found.takes if name not in (*_OF_SAMPLING, *_OF_MODEL)]
    if unknown:
        return f"Description.takes: {unknown[0]!r} is no setting; those are {', '.join((*_OF_SAMPLING, *_OF_MODEL))}"
    for name in SIZE:
        if name not in found.takes and found.defaults.get(name) is None:
            return f"Description.defaults has no {name}, and it takes none; say which it makes"
    return _default_fault(found)


def _default_fault(found: Description) -> str | None:
    for name, value in found.defaults.items():
        if name not in (*found.takes, *SIZE):
            return f"Description.defaults: it takes no {name}"
        try:
            checked_value(SETTINGS[name], value, name)
        except DarkroomError as error:
            return f"Description.defaults: {error}"
    return None


def place_options(make: Callable[..., Any]) -> frozenset[str]:
    """Names of options that say where something lies or which secret is used: a stored run decides none of them."""
    table = make.options  # type: ignore[attr-defined]
    return frozenset() if table is None else frozenset(each.name for each in settings_of(table) if each.is_place)


def shaping_options(make: Callable[..., Any], ref: ModelRef) -> dict[str, Any]:
    """The options that its pixels depend on: places too, unless model.revision says what lies there."""
    table = make.options  # type: ignore[attr-defined]
    if table is None:
        return {}
    given = vars(options_of(ref, table))
    named = [each for each in settings_of(table) if each.of_image and not (each.is_place and ref.revision)]
    return {each.name: given[each.name] for each in named if given[each.name] != each.default}
