"""Renderers of one's own, named by the function that makes them, as in `my_package.my_module:make`.

The module must be importable on every machine that renders: installed, or on PYTHONPATH. The function is marked with
what its renderers say of themselves, and gives one:

    @described_by(lambda ref: Description("stripes", defaults={"height": 64, "width": 64}))
    def make(spec: RendererSpec) -> Renderer: ...

Cells are named by its code (`domain/source_code.py` says how far that goes), its options and the revision that it
tells: another code makes other cells, and a run is never a mixture. What it returns is looked at in every call, so that
a mistake in it ends the job in one line, and an error of it about an image costs that image's record.
"""

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from darkroom.domain.errors import DarkroomError, EndsRun, WrongModel, type_and_line
from darkroom.domain.identity import ModelIdentity
from darkroom.domain.records import ImageRequest
from darkroom.domain.setting_values import as_said
from darkroom.domain.settings import ModelRef, settings_of
from darkroom.domain.source_code import DARKROOM, imported_function, module_lines
from darkroom.rendering.description import PlugIn, description_of, shaping_options
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.loading import calls_models, loads_models
from darkroom.rendering.renderer import FatalDeviceError, RenderedImage, Renderer, RendererInfo, RendererSpec, explained

_TO_READ = ("repo_id", "make", "options")  # settings of the model that are the renderer's own
_UNTAKEN = {each.name: each.default for each in settings_of(ModelRef) if each.name not in _TO_READ}


class BrokenRenderer(DarkroomError, EndsRun):
    """A renderer of somebody's own that does not do what renderers do: no image of it can be trusted."""


class RendererError(DarkroomError):
    """What a renderer of somebody's own raised."""


def inspect_plug_in(ref: ModelRef) -> InspectedModel:
    """What the named function will make, without making it. Raises DarkroomError where it cannot be used."""
    make = imported_function(ref.make or "", "model.make=")
    description = description_of(make, ref)
    for name, unsaid in _UNTAKEN.items():
        given = getattr(ref, name)
        if given != unsaid and name not in description.takes:
            raise DarkroomError(f"model.{name}={as_said(given)}: {ref.make} takes no {name}; leave it out")
    dtype = description.dtype if ref.dtype == "auto" else ref.dtype
    identity = ModelIdentity(description.name, _revision(ref, make, description.revision), dtype, ref.make or "")
    height, width = (description.defaults.get(name) for name in ("height", "width"))
    assert isinstance(height, int | None)
    assert isinstance(width, int | None)
    return InspectedModel(
        identity=identity,
        source=ref.make or "",
        revision=None,
        variant=None,
        height=height,
        width=width,
        is_flow=False,
        max_prompt_tokens=None,
        folder=None,
        plug_in=PlugIn(ref, description),
    )


def load_plug_in(spec: RendererSpec) -> Renderer:
    """What the function makes, checked from call to call. Raises WrongModel where this machine has other code."""
    plug_in = spec.model.plug_in
    assert plug_in
    make = imported_function(plug_in.name, "model.make=")
    here = _revision(plug_in.ref, make, description_of(make, plug_in.ref).revision)
    if here != spec.model.identity.revision:
        raise WrongModel(
            f"model.make={plug_in.name}: on {platform.node()} its code is not that which this job was started with; "
            "install the same there"
        )
    made = _made(make, spec)
    return CheckedRenderer(made, plug_in)


@loads_models
def _made(make: Any, spec: RendererSpec) -> Any:
    try:
        return make(spec)
    except DarkroomError:
        raise
    except Exception as error:
        raise BrokenRenderer(f"model.make={spec.model.source}: it raised {type_and_line(error)}") from error


def _revision(ref: ModelRef, make: Any, revision: str) -> str:
    """ "sha256:..." over code, options and what the renderer says of its revision. Darkroom's own modules tell theirs,
    so that a new version of Darkroom goes on with old runs."""
    module = (ref.make or "").partition(":")[0]
    code = [] if module.partition(".")[0] == DARKROOM else module_lines(module)
    said = [ref.make, ref.repo_id, ref.revision, ref.variant, revision, shaping_options(make, ref), code]
    return f"sha256:{hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()}"


class CheckedRenderer:
    """A renderer of somebody's own, whose every answer is looked at."""

    def __init__(self, made: Any, plug_in: PlugIn) -> None:
        info = getattr(made, "info", None)
        if not isinstance(info, RendererInfo) or not callable(getattr(made, "render", None)) or info.batch_size < 1:
            raise BrokenRenderer(
                f"model.make={plug_in.name}: it made a {type(made).__name__}, which has no RendererInfo as info "
                "or no method render; see pipeline/darkroom/rendering/renderer.py"
            )
        self.info = replace(info, is_seeded=plug_in.description.is_seeded, keeps_size=True)
        self._made, self._plug_in = made, plug_in

    @calls_models
    def render(self, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
        """Requests of a size that it does not make are not handed over, and get the reason."""
        faults = [
            self._plug_in.size_fault(request.sampling.height, request.sampling.width) or "" for request in requests
        ]
        wanted = [request for request, fault in zip(requests, faults, strict=True) if not fault]
        made = iter(self._called(wanted) if wanted else ())
        return [RenderedImage(None, error=fault) if fault else next(made) for fault in faults]

    def _called(self, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
        try:
            images = self._made.render(requests)
        except (DarkroomError, FatalDeviceError):
            raise
        except Exception as error:
            if isinstance(explained(error), FatalDeviceError):
                raise explained(error) from error
            raise RendererError(f"{self._plug_in.name}: {type_and_line(error)}") from error
        if not isinstance(images, list) or len(images) != len(requests):
            said = f"{len(images)} results" if isinstance(images, list) else f"a {type(images).__name__}"
            raise self._broken(f"{said} of {len(requests)} requests; give a list of as many RenderedImage")
        return [self._checked(request, image) for request, image in zip(requests, images, strict=True)]

    def _checked(self, request: ImageRequest, image: Any) -> RenderedImage:
        if not isinstance(image, RenderedImage):
            raise self._broken(f"a {type(image).__name__} of a request; give a RenderedImage")
        pixels = image.pixels
        if pixels is None:
            return image
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            found = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
            raise self._broken(f"pixels that are {found}; give (height, width, 3) uint8 RGB")
        asked = request.sampling.height, request.sampling.width
        if pixels.shape[:2] != asked:
            made = f"{pixels.shape[1]}x{pixels.shape[0]}"
            return replace(
                image, pixels=None, error=f"{made} pixels came back, and {asked[1]}x{asked[0]} were asked for"
            )
        return image

    def _broken(self, what: str) -> BrokenRenderer:
        return BrokenRenderer(f"model.make={self._plug_in.name}: its render returned {what}")
