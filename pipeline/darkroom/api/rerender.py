"""Renders committed images again, with the settings, the model and the batch shape that their records name.

Models are found where they lay, or where the caller says that they lie now; digests decide, not names. Nothing that a
run stores is trusted: a model's own code runs only where this call says so.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from darkroom import __version__
from darkroom.api.checking import find_model, renderer_spec
from darkroom.api.events import Progress, RenderedElsewhere
from darkroom.api.options import ModelPlace
from darkroom.api.run import Run
from darkroom.domain.cells import ModelIdentity
from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import Record
from darkroom.domain.requests import Sample
from darkroom.domain.settings import ModelRef
from darkroom.engine.device import LoadedModel, batches
from darkroom.rendering.inspection import InspectedModel
from darkroom.rendering.model_files import INDEX
from darkroom.rendering.renderer import RenderedImage, Renderer, load_renderer
from darkroom.runs.cells import CellInfo, cell_of
from darkroom.runs.encoding import pixels_digest
from darkroom.runs.layouts import as_rendered, encode_image
from darkroom.runs.reading import model_as_recorded, recorded_sample

_REMEDY = "give the model's place, or the folder that holds all models of the run, as model.repo_id=..."


@dataclass(frozen=True)
class Rerendered:
    """A committed image, made again."""

    data: bytes  # its file
    pixels_sha256: str


@dataclass(frozen=True)
class _How:
    """What a renderer must have to make the same bytes."""

    model: ModelIdentity
    batch_size: int
    compiled: bool


class Rerenderer:
    """Makes the files of committed images again. Holds one model at a time."""

    def __init__(self, run: Run, place: ModelPlace, device: str, progress: Progress) -> None:
        self._run = run
        self._place = place
        self._device = device
        self._progress = progress
        self._model = cache(self._find)
        self._loaded = LoadedModel(self._load)
        self._told: set[tuple] = set()

    def images(self, records: Sequence[Record]) -> Iterator[tuple[Record, Rerendered | None]]:
        """Each record with its image as it is made now; None where it could not be rendered."""
        groups: dict[_How, list[Record]] = defaultdict(list)
        for record in records:
            model = cell_of(self._run.cells, record.cell_id).model
            groups[_How(model, record.batch_size, record.compiled)].append(record)
        for how in groups:  # all are found, and trusted, before anything is rendered
            self._model(how.model)
        for how, group in groups.items():
            yield from self._rendered(how, group)

    def _rendered(self, how: _How, group: Sequence[Record]) -> Iterator[tuple[Record, Rerendered | None]]:
        renderer = self._loaded.get(how)
        by_id = {record.image_id: record for record in group}
        info = renderer.info
        samples = [recorded_sample(record, cell_of(self._run.cells, record.cell_id)) for record in group]
        for batch in batches(samples, info.batch_size, info.mixes_guidance):
            images = renderer.render([item.request for item in batch])
            for item, image in zip(batch, images, strict=True):
                record = by_id[item.request.image_id]
                yield record, None if image.pixels is None else self._encoded(record, item, image)
        self._tell_how(group, renderer)

    def _encoded(self, record: Record, sample: Sample, image: RenderedImage) -> Rerendered:
        assert image.pixels is not None
        model = model_as_recorded(cell_of(self._run.cells, record.cell_id).model, record)
        request = as_rendered(sample, image.pixels).request
        file = encode_image(request, image.pixels, model, self._run.info.output)
        return Rerendered(file.data, pixels_digest(image.pixels))

    def _load(self, how: _How) -> Renderer:
        return load_renderer(renderer_spec(self._model(how.model), self._device, how.batch_size, how.compiled))

    def _find(self, identity: ModelIdentity) -> InspectedModel:
        info = next(info for info in self._run.cells.values() if info.cell.model == identity)
        return models_of([info], self._place, self._device)[identity]

    def _tell_how(self, group: Sequence[Record], renderer: Renderer) -> None:
        then = {
            (record.device, record.darkroom_version, record.torch_version, record.diffusers_version) for record in group
        }
        versions = renderer.info.versions
        now = (renderer.info.device, __version__, versions.get("torch"), versions.get("diffusers"))
        for other in sorted(then - {now} - self._told, key=str):
            self._progress(RenderedElsewhere(other, now))
        self._told |= then


# The run's models --------------------------------------------------------------------------------------------------


def models_of(cells: Iterable[CellInfo], place: ModelPlace, device: str) -> dict[ModelIdentity, InspectedModel]:
    """The cells' models. Raises DarkroomError where one is not what the run was made with."""
    once = {info.cell.model: info for info in cells}
    for info in once.values():
        _check_trust(info, place.trust_remote_code)
    return {identity: _model_of(info, place.repo_id, device) for identity, info in once.items()}


def _check_trust(info: CellInfo, trusts: bool) -> None:
    if info.cell.model.trust_remote_code and not trusts:
        raise DarkroomError(
            f"cell {info.cell.cell_id}: model.repo_id={info.ref.repo_id} runs code of its own; give "
            "model.trust_remote_code=true if you trust it"
        )


def _model_of(info: CellInfo, place: str | None, device: str) -> InspectedModel:
    """Where it lay is looked at too: a run may have several models, and not all have moved."""
    identity, said = info.cell.model, []
    for ref in [*_refs_at(place), info.ref] if place else [info.ref]:
        try:
            model = _inspected(ref, identity, device)
        except DarkroomError as error:
            said.append(f"{error}; or {_REMEDY}")
            continue
        if model.identity.revision == identity.revision:
            return replace(model, identity=identity)
        said.append(
            f"model.repo_id={ref.repo_id} is {model.identity.revision}, and the run was made with "
            f"{identity.revision}; restore that model, or {_REMEDY}"
        )
    raise DarkroomError(said[0])


def _inspected(ref: ModelRef, identity: ModelIdentity, device: str) -> InspectedModel:
    """As the run's model was looked at."""
    commit = None if identity.revision.startswith("sha256:") else identity.revision
    trusts = identity.trust_remote_code
    ref = replace(ref, dtype=identity.dtype, variant=identity.variant, trust_remote_code=trusts)
    return find_model(replace(ref, revision=commit or ref.revision), device)


def _refs_at(place: str) -> Iterator[ModelRef]:
    """The place itself, and where it is no model, the models in it."""
    folder = Path(place).expanduser()
    inside = sorted(path.parent for path in folder.glob(f"*/{INDEX}")) if folder.is_dir() else []
    here = [folder.resolve()] if folder.is_dir() else [place]
    yield from (ModelRef(str(path)) for path in (inside if inside and not (folder / INDEX).is_file() else here))
