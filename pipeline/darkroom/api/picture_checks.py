"""Pictures that images are made from: where they lie, and whether cells and rows can have them, before anything is
loaded. What the pictures themselves are is seen as they are read, beside rendering.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.api.cells import OPTIONAL_ARGUMENTS, CheckedCell
from darkroom.domain.errors import DarkroomError, credentials_in, has_credentials
from darkroom.domain.process import from_anywhere
from darkroom.domain.settings import (
    ARGUMENTS,
    CONTROL,
    IMAGE,
    MASK,
    OF_CONTROL,
    OF_IMAGE,
    PICTURES,
    RESIZE_NONE,
    SETTINGS,
    Sampling,
)
from darkroom.engine.pictures import Pictures
from darkroom.prompts.dataset import PromptScan
from darkroom.rendering.description import SIZE
from darkroom.rendering.families import FAMILIES
from darkroom.rendering.inspected_model import InspectedModel, size_unit
from darkroom.rendering.model_facts import call_parameters
from darkroom.rendering.renderer import PAINT_REPO_ID, RendererSpec
from darkroom.runs.run import PromptsInfo
from darkroom.storage.named_files import NamedPlace
from darkroom.storage.scanning import fixed_part
from darkroom.storage.store import StoreSpec, is_in_object_store, is_remote
from darkroom.storage.web_files import is_web

if TYPE_CHECKING:
    from darkroom.api.checking import Request

_GROUNDS = (IMAGE, CONTROL)  # that an image has the size of
_OF = {IMAGE: (MASK, *OF_IMAGE), CONTROL: OF_CONTROL}  # which say nothing without such a picture ...
_OF_ANY = ("image_resize", "images_uri")  # ... and without any


def pictures_of(place: NamedPlace | None, run: StoreSpec, renderers: Iterable[RendererSpec]) -> Pictures:
    """What workers of this run with these renderers read them by."""
    kept = replace(place or NamedPlace(), kept=run)
    return Pictures(kept, {spec.model.identity: size_unit(spec.model) for spec in renderers})


def with_place(prompts: PromptsInfo, place: NamedPlace | None) -> PromptsInfo:
    """As a run keeps it."""
    if place is None:
        return prompts
    return replace(prompts, images_uri=place.uri, images_endpoint_url=place.endpoint_url)


# Where they lie ------------------------------------------------------------------------------------------------------


def picture_place(request: "Request", cells: Sequence[CheckedCell], scan: PromptScan) -> NamedPlace | None:
    """None where no image is made from one."""
    if not any(_takes_any(item, scan) for item in cells):
        return None
    given, prompts = request.sampling.get("images_uri"), request.prompts.settings
    endpoint = prompts.get("endpoint_url") or request.output.endpoint_url
    uri = _checked_uri(str(given)) if given else _folder_of(prompts.get("uri", "."))
    return NamedPlace(uri, None if endpoint is None else str(endpoint))


def _checked_uri(uri: str) -> str:
    if has_credentials(uri):
        raise credentials_in("sampling.images_uri")
    if is_remote(uri) and not is_in_object_store(uri):
        raise DarkroomError(f"sampling.images_uri={uri}: give a folder, or an s3:// address (or gs://, az://)")
    return from_anywhere(uri.removeprefix("file://"))


def _folder_of(uri: Any) -> str:
    """That a prompt file lies in; of a folder or glob, the folder; of several files, none where they are of several."""
    if not isinstance(uri, str):
        folders = {_folder_of(each) for each in uri}
        return folders.pop() if len(folders) == 1 else ""
    if is_web(uri):
        return ""
    place = fixed_part(uri.rstrip("/"))
    if uri == "-" or (not is_remote(uri) and Path(place).is_dir()):
        return from_anywhere("." if uri == "-" else place)
    is_folder = place != uri.rstrip("/") or uri.endswith("/") or not Path(place).suffix
    return place if is_folder else os.path.dirname(place)  # noqa: PTH120 - of an address too


# Cells ---------------------------------------------------------------------------------------------------------------


def check_pictures(request: "Request", cells: Sequence[CheckedCell], scan: PromptScan) -> None:
    """Raises DarkroomError for what no image of a cell can be made from, or by."""
    for item in cells:
        _check_unused(request, item, scan)
        _check_controlnet(item, scan)
        if not _takes_any(item, scan):
            continue
        _check_sizes(request, item, scan)
        if item.model.plug_in or item.model.source == PAINT_REPO_ID:
            continue  # the former has said what it takes; the latter looks at nothing
        if request.output.trajectory:
            raise DarkroomError(
                "output.trajectory=true: of images that are made from pictures none is stored; leave it out"
            )
        _check_model(item.cell.sampling, item.model)
        for pictures in _tasks(item, scan):
            _check_task(pictures, item, scan)


def _takes(item: CheckedCell, name: str, scan: PromptScan) -> bool:
    return bool(getattr(item.cell.sampling, name)) or bool(scan.num_overriding.get(name))


def _takes_any(item: CheckedCell, scan: PromptScan) -> bool:
    return any(_takes(item, name, scan) for name in _GROUNDS)


def has_sizes_of_pictures(item: CheckedCell, scan: PromptScan) -> bool:
    """Whether its images, or some of them, have the sizes of the pictures that they are made from."""
    is_fitted = item.cell.sampling.image_resize != RESIZE_NONE and "image_resize" not in scan.num_overriding
    return _takes_any(item, scan) and not is_fitted


def _check_unused(request: "Request", item: CheckedCell, scan: PromptScan) -> None:
    lacking = {name: _OF[name] for name in _GROUNDS if not _takes(item, name, scan)}
    if len(lacking) == len(_GROUNDS):
        lacking[IMAGE] = (*lacking[IMAGE], *_OF_ANY)
    for picture, names in lacking.items():
        for name in names:
            given = request.sampling.get(name) if name == "images_uri" else getattr(item.cell.sampling, name)
            is_column = bool(scan.num_overriding.get(name))
            if is_column or SETTINGS[name].does_something(given):
                said = f"column {name}" if is_column else f"sampling.{name}={given}"
                raise DarkroomError(f"{said}: there is no picture that it is of; give {picture} too, as a column or as "
                                    f"sampling.{picture}, or leave it out")  # fmt: skip


def _check_controlnet(item: CheckedCell, scan: PromptScan) -> None:
    """Refuse a ControlNet without control pictures, and these without it."""
    model = item.model
    if model.plug_in or model.source == PAINT_REPO_ID:
        return
    if model.identity.controlnet and not _takes(item, CONTROL, scan):
        raise DarkroomError(
            f"model.controlnet {model.identity.controlnet.name}: no image has a picture for it; give {CONTROL}, as a "
            f"column or as sampling.{CONTROL}, or leave it out"
        )
    if _takes(item, CONTROL, scan) and not model.identity.controlnet:
        raise DarkroomError(
            f"{CONTROL}: {model.identity.repo_id} has no ControlNet; give model.controlnet=... with one that was made "
            f"for it, or leave the pictures unread by prompts.columns.{CONTROL}=null"
        )


def _check_sizes(request: "Request", item: CheckedCell, scan: PromptScan) -> None:
    """Refuse a height and width that no image would have."""
    if item.cell.sampling.image_resize != RESIZE_NONE or "image_resize" in scan.num_overriding:
        return
    settings = [*request.grid.cells, request.grid.axes] if request.grid else []
    for name in SIZE:
        if name in scan.num_overriding or request.sampling.get(name) or any(name in each for each in settings):
            raise DarkroomError(
                f"{name}: images that are made from pictures have the size of these; give sampling.image_resize=scale, "
                f"or crop, for this {name}, or leave it out"
            )


def _check_model(sampling: Sampling, model: InspectedModel) -> None:
    if model.identity.refiner:
        raise DarkroomError("model.refiner: it goes on from noise, and images are made from pictures; leave it out")
    for name, value in sampling.lossy.items():
        raise DarkroomError(
            f"sampling.{name}={value}: it is of steps that begin at noise, and images are made from pictures; leave it "
            "out"
        )


def _tasks(item: CheckedCell, scan: PromptScan) -> Iterator[list[str]]:
    """The pictures that an image may be made from, by the settings that name them."""
    for choice in product(*(_choices(item, name, scan) for name in PICTURES)):
        names = [name for name, is_there in zip(PICTURES, choice, strict=True) if is_there]
        if names and (IMAGE in names or MASK not in names):
            yield names


def _choices(item: CheckedCell, name: str, scan: PromptScan) -> tuple[bool, ...]:
    """Whether images have one: all, none or some."""
    if not _takes(item, name, scan):
        return (False,)
    num_given = scan.num_rows if getattr(item.cell.sampling, name) else scan.num_overriding.get(name, 0)
    return (True, False) if num_given < scan.num_rows - scan.num_invalid else (True,)


def _check_task(pictures: Collection[str], item: CheckedCell, scan: PromptScan) -> None:
    model, sampling = item.model, item.cell.sampling
    is_masked = MASK in pictures
    name, what = model.family.task_class(pictures), MASK if is_masked else IMAGE
    if name is None:
        known = ", ".join(kind for kind, family in FAMILIES.items() if family.task_class(pictures))
        raise DarkroomError(
            f"{what}: {model.identity.pipeline_class} of {model.identity.repo_id} makes no images from "
            f"{'pictures with masks' if is_masked else 'pictures'}; use a model of one of {known}, or leave the "
            f"pictures unread by prompts.columns.{what}=null"
        )
    taken, given = call_parameters(name) or {}, _arguments(sampling, scan.num_overriding)
    for argument in given:
        if argument not in taken and argument not in (*OF_IMAGE, *OF_CONTROL):
            raise DarkroomError(f"{argument}: {name}, which makes these images, takes none; leave it out")
    if fault := picture_fault(sampling, model, pictures):
        raise DarkroomError(f"sampling.{fault}")


def _arguments(sampling: Sampling, columns: Collection[str]) -> list[str]:
    acting = [each.name for each in ARGUMENTS if each.has_neutral and each.does_something(getattr(sampling, each.name))]
    return [*acting, *(name for name in columns if name in OPTIONAL_ARGUMENTS and name in {a.name for a in ARGUMENTS})]


# Rows ----------------------------------------------------------------------------------------------------------------


def row_picture_fault(sampling: Sampling, model: InspectedModel) -> str | None:
    """Why a row with these settings cannot be rendered for its pictures; None where it can."""
    for picture, names in _OF.items():
        for name in names if not getattr(sampling, picture) else ():
            if SETTINGS[name].does_something(value := getattr(sampling, name)):
                return f"{name}={value} and no {picture} that it is of; give the row one, or leave it out"
    if not sampling.pictures or model.plug_in or model.source == PAINT_REPO_ID:
        return None
    return picture_fault(sampling, model, sampling.pictures)


def picture_fault(sampling: Sampling, model: InspectedModel, pictures: Collection[str]) -> str | None:
    """Why no step is left of these settings to pictures of these names."""
    start, end = sampling.control_guidance_start, sampling.control_guidance_end
    if CONTROL in pictures and start >= end:
        return f"control_guidance_start={start:g} is not before control_guidance_end={end:g}; give other shares"
    name, strength = model.family.task_class(pictures), sampling.strength
    if strength is None and name:
        parameter = (call_parameters(name) or {}).get("strength")
        strength = parameter.default if parameter else 1.0
    if IMAGE not in pictures or strength is None or int(sampling.num_inference_steps * strength) >= 1:
        return None
    return (
        f"strength={strength:g} of num_inference_steps={sampling.num_inference_steps} leaves no step; give more of one "
        "of them"
    )


def is_of_pictures(columns: Collection[str]) -> bool:
    """Whether rows have settings of their own that `row_picture_fault` looks at."""
    return not {*PICTURES, *OF_IMAGE, *OF_CONTROL}.isdisjoint(columns)
