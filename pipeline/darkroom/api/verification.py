"""Compares committed images with their records, rendered again or by their stored bytes; and repairs them.

They are rendered with the settings, the model and the batch shape that their records name. Nothing that a run stores is
trusted: a model's own code runs only where the call says so.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from darkroom import __version__
from darkroom.api.engine import local_device
from darkroom.api.events import ImageDamaged, ImageDiffers, Noted, Progress, RenderedElsewhere, Warned
from darkroom.api.folder_card import write_card
from darkroom.api.models import check_place, models_of
from darkroom.api.options import ModelPlace
from darkroom.api.picture_checks import pictures_of
from darkroom.api.proving import limited_as
from darkroom.api.run import Run, check_writable
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import ModelIdentity
from darkroom.domain.progress import told_of_copies
from darkroom.domain.records import Record, Sample
from darkroom.domain.trajectories import steps_text
from darkroom.engine.device import LoadedModel, batches
from darkroom.engine.shard import with_trajectory
from darkroom.exporting.run_folder import folder_card_fault
from darkroom.rendering.backends import AUTO, OPENVINO, TORCH, backend_of
from darkroom.rendering.inspected_model import InspectedModel, shared_models
from darkroom.rendering.renderer import RenderedImage, Renderer, RendererSpec, load_renderer
from darkroom.runs import images as stored_images
from darkroom.runs.cells import cell_of
from darkroom.runs.commands import on_run
from darkroom.runs.encoding import CONTENT_TYPES, decode_all, pixels_digest
from darkroom.runs.finishing import finish
from darkroom.runs.images import (
    StoredObject,
    image_bytes,
    signed_records,
    stored_files,
    stored_objects,
    stored_sidecars,
)
from darkroom.runs.layouts import as_rendered, encode_image, encode_trajectory
from darkroom.runs.overlays import Overlay
from darkroom.runs.reading import find_image, model_as_recorded, recorded_sample, sample
from darkroom.runs.signing import ReadManifest, read_manifest, trusted, unread
from darkroom.runs.trajectories import StoredTrajectory, is_recorded, recorded_trajectories, stored_trajectories
from darkroom.runs.watermarks import FOUND
from darkroom.storage.store import Store, prefetched

_AT_ONCE = 64  # images held in memory while they are repaired, or read with their signed manifests
_SIGNED_ONCE = (
    ": no signature can be made again; put it back from a copy, or remove the shard's file in metadata/ (where `gc "
    "manifests=true` removed that, the file in compacted/ that copies it, with the .collected beside it) and give the "
    "command that made the run again, which signs its images anew"
)


@dataclass(frozen=True)
class Rerendered:
    """A committed image as it is rendered now."""

    data: bytes  # its file
    pixels_sha256: str
    trajectory: bytes | None = None  # the file of how it formed, where that was asked for


@dataclass(frozen=True)
class Verification:
    """What a sample of images came to when it was rendered again."""

    num_images: int
    num_equal: int  # byte by byte
    num_pixels_equal: int  # of the others: another text in the file, or another encoder
    num_unseeded: int = 0  # further ones, whose renderer makes no promise about seeds: not rendered again


@dataclass(frozen=True)
class StoredCheck:
    """What the stored bytes of all images came to."""

    num_images: int
    num_damaged: int
    num_trajectories: int = 0
    num_trajectories_damaged: int = 0
    num_sidecars: int = 0  # signed manifests ...
    num_sidecars_damaged: int = 0  # ... and those that are not what was stored

    @property
    def is_damaged(self) -> bool:
        return bool(self.num_damaged or self.num_trajectories_damaged or self.num_sidecars_damaged)


@dataclass(frozen=True)
class Signer:
    """Who signed, by the certificate."""

    name: str
    is_trusted: bool  # by the roots that were given


@dataclass(frozen=True)
class ManifestCheck:
    """What the signed manifests of all images came to."""

    num_images: int
    signers: Counter[Signer]  # images of each, whose manifests hold

    @property
    def num_valid(self) -> int:
        return self.signers.total()

    @property
    def num_trusted(self) -> int:
        return sum(count for signer, count in self.signers.items() if signer.is_trusted)


@dataclass(frozen=True)
class Repair:
    """What became of images, of trajectories, and of signed manifests, that were not what their records say."""

    num_damaged: int
    num_left: int  # that are as they were
    num_trajectories_damaged: int = 0
    num_trajectories_left: int = 0
    num_sidecars_left: int = 0  # all of those that are damaged: no signature can be made again

    @property
    def is_left(self) -> bool:
        return bool(self.num_left or self.num_trajectories_left or self.num_sidecars_left)


def verify(
    run: Run,
    progress: Progress,
    num_images: int = 16,
    seed: int = 0,
    image_id: str | None = None,
    device: str = "auto",
    model: ModelPlace = ModelPlace(),  # noqa: B008, frozen
) -> Verification:
    """Render a random sample again, or the one image, and compare by SHA-256; each that differs is told."""
    drawn = _chosen(run.store, num_images, seed, image_id)
    chosen = [record for record in drawn if is_seeded(record)]
    if not chosen:
        checking = on_run("verify", run.store.spec, stored=True)
        raise DarkroomError(
            f"{run.store.describe()}: the renderer of these {len(drawn)} images makes no promise about seeds, so that "
            f"none can be rendered again and compared; `{checking}` compares what is stored"
        )
    rerenderer = Rerenderer(run, model, local_device(device), progress)
    differing = [
        found for record, made in rerenderer.images(chosen) if (found := _difference(record, made, run.store, progress))
    ]
    num_pixels_equal = sum(found.pixels_are_equal for found in differing)
    return Verification(len(chosen), len(chosen) - len(differing), num_pixels_equal, len(drawn) - len(chosen))


def is_seeded(record: Record) -> bool:
    """Whether an image that is rendered again should be the same; older records are of renderers that promise it."""
    return record.is_seeded is not False


def check_stored(run: Run, progress: Progress) -> StoredCheck:
    """Compare every image's stored bytes with its record; nothing is rendered."""
    num_images = num_damaged = 0
    for item in stored_objects(run.store, run.cells, run.info.output):
        num_images += len(item.records)
        num_damaged += len(item.damages)
        for image_id, reason in item.damages.items():
            progress(ImageDamaged(image_id, run.store.describe(item.key), reason))
    faults = [item.fault for item in _told_trajectories(run, progress)]
    trajectories = len(faults), len([*filter(None, faults)])
    if fault := folder_card_fault(run.store, run.info, run.cells):
        mending = on_run("repair", run.store.spec)
        progress(Noted(f"{fault}; the command that made the run writes it anew, and so does `{mending}`"))
    return StoredCheck(num_images, num_damaged, *trajectories, *_told_sidecars(run, progress))


def _told_trajectories(run: Run, progress: Progress) -> Iterator[StoredTrajectory]:
    """All that records name; each that is damaged is told."""
    for item in stored_trajectories(run.store, recorded_trajectories(run.store, run.info)):
        if item.fault:
            progress(ImageDamaged(item.record.image_id, run.store.describe(item.key), f"its trajectory: {item.fault}"))
        yield item


def _told_sidecars(run: Run, progress: Progress, remedy: str = "") -> tuple[int, int]:
    """(signed manifests that there should be, those that are not what was stored); each of these is told."""
    num_sidecars = num_damaged = 0
    for records in signed_records(run.store) if run.info.output.c2pa else ():
        num_sidecars += len(records)
        for sidecar in filter(lambda each: each.fault, stored_sidecars(run.store, records)):
            num_damaged += 1
            place = run.store.describe(sidecar.record.c2pa_key or sidecar.record.key or "")
            progress(ImageDamaged(sidecar.record.image_id, place, f"{sidecar.fault}{remedy}"))
    return num_sidecars, num_damaged


def check_manifests(run: Run, progress: Progress, trust_anchors: str | None = None) -> ManifestCheck:
    """Read every signed manifest and hold it against its image; nothing is rendered.

    `trust_anchors`: a PEM file of roots. Raises DarkroomError for a run without signed manifests.
    """
    if not run.info.output.c2pa:
        raise DarkroomError(
            f"{run.store.describe()}: its images have no signed manifests; a run has them that begins with "
            "output.c2pa.certificate"
        )
    anchors = trusted(trust_anchors)
    num_images, signers = 0, Counter[Signer]()
    portions = (records[at : at + _AT_ONCE] for records in signed_records(run.store)
                for at in range(0, len(records), _AT_ONCE))  # fmt: skip
    for found in prefetched(portions, lambda records: _read_manifests(run, records, anchors)):
        for record, read in found:
            num_images += 1
            if read.fault:
                place = run.store.describe(record.c2pa_key or record.key or "")
                progress(ImageDamaged(record.image_id, place, read.fault))
            else:
                signers[Signer(read.signer, read.is_trusted)] += 1
    return ManifestCheck(num_images, signers)


def _read_manifests(run: Run, records: Sequence[Record], anchors: str | None) -> list[tuple[Record, ReadManifest]]:
    """Each record with what its manifest says; an image that is not what was committed is the fault where it is."""
    found = []
    files, sidecars = stored_files(run.store, records), stored_sidecars(run.store, records)
    for file, sidecar in zip(files, sidecars, strict=True):
        if fault := file.fault or sidecar.fault:
            read = unread(fault)
        else:
            read = read_manifest(sidecar.data, file.data, run.info.output.image_format, anchors)
        found.append((file.record, read))
    return found


def repair(
    run: Run,
    progress: Progress,
    device: str = "auto",
    model: ModelPlace = ModelPlace(),  # noqa: B008, frozen
) -> Repair:
    """Render exactly those stored images again that are not what their records say, and put the right bytes back."""
    check_writable(run)
    rerenderer = Rerenderer(run, model, local_device(device), progress)
    num_damaged = num_left = 0
    for portion in _portions(stored_objects(run.store, run.cells, run.info.output)):
        damaged = [record for item in portion for record in item.records if record.image_id in item.damages]
        seeded = [record for record in damaged if is_seeded(record)]
        rendered: dict[str, bytes | None] = {record.image_id: None for record in damaged}
        rendered |= {record.image_id: made.data if made else None for record, made in rerenderer.images(seeded)}
        num_damaged += len(damaged)
        for item in portion:
            left = stored_images.repair(run.store, item, rendered, run.cells[item.cell_id].cell, run.info.output)
            num_left += len(left)
            for image_id in item.damages:
                place, reason = run.store.describe(item.key), left.get(image_id, "")
                progress(ImageDamaged(image_id, place, reason, is_repaired=image_id not in left))
    write_card(run, progress)
    _, num_sidecars = _told_sidecars(run, progress, _SIGNED_ONCE)
    return Repair(num_damaged, num_left, *_repair_trajectories(run, rerenderer, progress), num_sidecars)


def _repair_trajectories(run: Run, rerenderer: "Rerenderer", progress: Progress) -> tuple[int, int]:
    """(damaged ones, those that stay so). Only bytes with the recorded digest are put back."""
    stored = stored_trajectories(run.store, recorded_trajectories(run.store, run.info))
    damaged, left = [item.record for item in stored if item.fault], 0
    for record, made in rerenderer.images(damaged, with_trajectories=True):
        data, key = made.trajectory if made else None, record.trajectory_key or ""
        is_right = is_recorded(record, data)
        if data is not None and is_right:
            run.store.put(key, data, CONTENT_TYPES["png"])
        left += not is_right
        reason = "its trajectory is another one when it is made again" if data else "it could not be rendered again"
        progress(ImageDamaged(record.image_id, run.store.describe(key), reason, is_repaired=is_right))
    return len(damaged), left


def _portions(objects: Iterable[StoredObject]) -> Iterator[list[StoredObject]]:
    """Damaged objects, a bounded number of damaged images at a time."""
    portion: list[StoredObject] = []
    for item in filter(lambda item: item.damages, objects):
        portion.append(item)
        if sum(len(each.damages) for each in portion) >= _AT_ONCE:
            yield portion
            portion = []
    if portion:
        yield portion


def _chosen(store: Store, num_images: int, seed: int, image_id: str | None) -> list[Record]:
    chosen = sample(store, num_images, seed) if image_id is None else find_image(store, image_id)
    if not chosen:
        asked = f"image_id={image_id}" if image_id else "an image"
        raise DarkroomError(
            f"{store.describe()}: {asked} is not among the committed images; see `{on_run('status', store.spec)}`"
        )
    return chosen


def _difference(record: Record, made: Rerendered | None, store: Store, progress: Progress) -> ImageDiffers | None:
    """How an image differs, which is told; None where it is equal byte by byte."""
    now = hashlib.sha256(made.data).hexdigest() if made else None
    if now == record.sha256:
        return None
    pixels_are_equal = made is not None and made.pixels_sha256 == record.pixels_sha256
    how = _pixel_difference(record, made, store) if made and not pixels_are_equal else None
    found = ImageDiffers(record, store.describe(record.key or ""), now, pixels_are_equal, how)
    progress(found)
    return found


def _pixel_difference(record: Record, made: Rerendered, store: Store) -> str:
    try:
        old, new = (decode_all(data).astype(np.int16) for data in (image_bytes(store, record), made.data))
    except DarkroomError as error:
        return f"the stored one cannot be compared: {error}"
    if old.shape != new.shape:
        return f"stored {old.shape}, now {new.shape}"
    difference = np.abs(old - new)
    return f"{np.count_nonzero(difference)} of {old.size} values differ, by at most {difference.max()}"


# Rendering committed images again -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _How:
    """What a renderer must have to make the same bytes."""

    model: ModelIdentity  # without the LoRAs, which are switched
    batch_size: int
    compiled: bool
    by_openvino: bool


class Rerenderer:
    """Makes the files of committed images again. Holds one model at a time."""

    def __init__(self, run: Run, place: ModelPlace, device: str, progress: Progress) -> None:
        check_place(run.cells.values(), place)
        self._run = run
        self._place = place
        self._device = device
        self._progress = progress
        self._model = cache(self._find)
        self._loaded = LoadedModel(self._load)
        self._told: set[tuple[str | None, ...]] = set()

    def images(
        self, records: Sequence[Record], with_trajectories: bool = False
    ) -> Iterator[tuple[Record, Rerendered | None]]:
        """Each record with its image as it is made now, and with its trajectory where both are asked for; None where it
        could not be rendered."""
        groups: dict[_How, list[Record]] = defaultdict(list)
        for record in records:
            model = cell_of(self._run.cells, record.cell_id).model
            by_openvino = record.openvino_version is not None
            groups[_How(model.base, record.batch_size, record.compiled, by_openvino)].append(record)
        for how in groups:  # all are found, and trusted, before anything is rendered
            self._model(how.model)
        for how, group in groups.items():
            yield from self._rendered(how, group, with_trajectories)

    def _rendered(
        self, how: _How, group: Sequence[Record], with_trajectories: bool
    ) -> Iterator[tuple[Record, Rerendered | None]]:
        renderer = self._loaded.get(how)
        by_id = {record.image_id: record for record in group}
        info = renderer.info
        samples = [recorded_sample(record, cell_of(self._run.cells, record.cell_id)) for record in group]
        samples, faults = pictures_of(self._run.info.pictures, self._run.store.spec, [self._spec(how)]).given(
            samples, how.model
        )
        for item in samples:
            if fault := faults.get(item.request.image_id):
                self._progress(Warned(f"{item.request.image_id}: {fault}"))
                yield by_id[item.request.image_id], None
        samples = [item for item in samples if item.request.image_id not in faults]
        if with_trajectories:
            samples = [with_trajectory(each, self._run.info.output) for each in samples]
        for batch in batches(samples, info):
            images = renderer.render([item.request for item in batch])
            for item, image in zip(batch, images, strict=True):
                record = by_id[item.request.image_id]
                yield record, None if image.pixels is None else self._encoded(record, item, image)
        self._tell_how(group, renderer)

    def _encoded(self, record: Record, sample: Sample, image: RenderedImage) -> Rerendered:
        assert image.pixels is not None
        model = model_as_recorded(cell_of(self._run.cells, record.cell_id).model, record)
        request = as_rendered(sample, image.pixels).request
        # An older record's file says nothing of its scheduler's options.
        scheduler = image.scheduler if record.scheduler_config else None
        overlay = Overlay.of_text(record.overlay) if record.overlay else None
        output, found = self._run.info.output, image.trajectory
        mark = output.watermark if record.watermark == FOUND else ""
        made = finish(
            image.pixels, overlay, mark, lambda pixels: encode_image(request, pixels, model, output, scheduler)
        )
        forming = encode_trajectory(found.pixels, steps_text(found.steps)) if found else None
        return Rerendered(made.file.data, pixels_digest(image.pixels), forming)

    def _load(self, how: _How) -> Renderer:
        return load_renderer(self._spec(how))

    def _spec(self, how: _How) -> RendererSpec:
        """By torch where OpenVINO is not at hand, which `_tell_how` says."""
        model = self._model(how.model)
        backend = backend_of(AUTO if how.by_openvino else TORCH, model, self._device, how.compiled)
        spec = RendererSpec(model, self._device, how.batch_size, how.compiled, backend)
        # The batch size is that of the record, whatever the run went by.
        return replace(spec, may_mix=limited_as(self._run.store, spec).may_mix)

    def _find(self, base: ModelIdentity) -> InspectedModel:
        infos = [info for info in self._run.cells.values() if info.cell.model.base == base]
        with told_of_copies(self._progress):
            [model] = shared_models(models_of(infos, self._place, self._device).values())
        return model

    def _tell_how(self, group: Sequence[Record], renderer: Renderer) -> None:
        then = {
            (
                record.device,
                record.darkroom_version,
                record.torch_version,
                record.diffusers_version,
                record.openvino_version and f"{OPENVINO} {record.openvino_version}",
            )
            for record in group
        }
        found = renderer.info.versions
        openvino = f"{OPENVINO} {found[OPENVINO]}" if OPENVINO in found else None
        now = (renderer.info.device, __version__, found.get("torch"), found.get("diffusers"), openvino)
        for other in sorted(then - {now} - self._told, key=str):
            self._progress(RenderedElsewhere(other, now))
        self._told |= then
