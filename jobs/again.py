"""Renders committed images again, with the settings, the model and the batch shape that their records name."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from omegaconf import DictConfig

from darkroom import __version__
from darkroom.domain.cells import ModelIdentity
from darkroom.domain.records import Record
from darkroom.domain.requests import Sample
from darkroom.engine.device import LoadedModel, batches
from darkroom.jobs.again_models import models_of
from darkroom.jobs.build import renderer_spec
from darkroom.jobs.runs import OpenedRun
from darkroom.rendering.inspection import InspectedModel
from darkroom.rendering.renderer import RenderedImage, Renderer, load_renderer
from darkroom.runs.cells import cell_of
from darkroom.runs.encoding import pixels_digest
from darkroom.runs.layouts import as_rendered, encode_image
from darkroom.runs.records import called_as_then, recorded_sample


@dataclass(frozen=True)
class _How:
    """What a renderer must have to make the same bytes."""

    model: ModelIdentity
    batch_size: int
    compiled: bool


@dataclass(frozen=True)
class Remade:
    """A committed image, made again."""

    data: bytes  # its file
    pixels_sha256: str


class Again:
    """Makes the files of committed images again. Holds one model at a time; `config` is a job's `model`."""

    def __init__(self, found: OpenedRun, config: DictConfig, device: str) -> None:
        self._found = found
        self._config = config
        self._device = device
        self._model = cache(self._find)
        self._held = LoadedModel(self._load)
        self._said: set[tuple] = set()

    def images(self, records: Sequence[Record]) -> Iterator[tuple[Record, Remade | None]]:
        """Each record with its image as it is made now; None where it could not be rendered."""
        groups: dict[_How, list[Record]] = defaultdict(list)
        for record in records:
            model = cell_of(self._found.cells, record.cell_id).model
            groups[_How(model, record.batch_size, record.compiled)].append(record)
        for how in groups:  # all are found, and trusted, before anything is rendered
            self._model(how.model)
        for how, group in groups.items():
            yield from self._rendered(how, group)

    def _rendered(self, how: _How, group: Sequence[Record]) -> Iterator[tuple[Record, Remade | None]]:
        renderer = self._held.get(how)
        by_id = {record.image_id: record for record in group}
        info = renderer.info
        samples = [recorded_sample(record, cell_of(self._found.cells, record.cell_id)) for record in group]
        for batch in batches(samples, info.batch_size, info.mixes_guidance):
            images = renderer.render([item.request for item in batch])
            for item, image in zip(batch, images, strict=True):
                record = by_id[item.request.image_id]
                yield record, None if image.pixels is None else self._remade(record, item, image)
        self._say_how(group, renderer)

    def _remade(self, record: Record, sample: Sample, image: RenderedImage) -> Remade:
        assert image.pixels is not None
        model = called_as_then(cell_of(self._found.cells, record.cell_id).model, record)
        member = encode_image(as_rendered(sample, image.pixels).request, image.pixels, model, self._found.info.output)
        return Remade(member.data, pixels_digest(image.pixels))

    def _load(self, how: _How) -> Renderer:
        return load_renderer(renderer_spec(self._model(how.model), self._device, how.batch_size, how.compiled))

    def _find(self, identity: ModelIdentity) -> InspectedModel:
        info = next(info for info in self._found.cells.values() if info.cell.model == identity)
        return models_of([info], self._config, self._device)[identity]

    def _say_how(self, group: Sequence[Record], renderer: Renderer) -> None:
        """Software and device of then and now, where they are not the same: why bytes may differ."""
        then = {
            (record.device, record.darkroom_version, record.torch_version, record.diffusers_version) for record in group
        }
        versions = renderer.info.versions
        now = (renderer.info.device, __version__, versions.get("torch"), versions.get("diffusers"))
        for other in sorted(then - {now} - self._said, key=str):
            print(f"note: rendered then on {other}, now on {now}; low bits may differ")
        self._said |= then
