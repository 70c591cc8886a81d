"""What becomes of a rendered image: encoded, put into the store, and written down as a record.

Encoding and uploading release the interpreter's lock, so a bounded pool of threads does both behind the device.
"""

import json
import math
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

import pyarrow as pa

from darkroom import __version__
from darkroom.domain.adapters import parts_used
from darkroom.domain.errors import EndsRun, first_line, redacted
from darkroom.domain.identity import ModelIdentity
from darkroom.domain.policy import Rejected, Scores, rejected_text, scores_text
from darkroom.domain.progress import OFF, Profile
from darkroom.domain.records import FAILED, FILTERED, INVALID, OK, Record, Sample, picture_digests
from darkroom.domain.settings import Value
from darkroom.domain.trajectories import steps_text
from darkroom.engine.extraction import InlineFeatures
from darkroom.rendering.renderer import RenderedImage, RendererInfo, Trajectory
from darkroom.runs.encoding import EncodedImage, pixels_digest
from darkroom.runs.finishing import finish
from darkroom.runs.layouts import (
    CONTAINERS,
    Placed,
    as_rendered,
    encode_image,
    encode_trajectory,
    place_container,
    place_image,
    place_sidecar,
    place_sidecars,
    place_trajectory,
)
from darkroom.runs.overlays import Overlay
from darkroom.runs.own_columns import own_columns
from darkroom.runs.run import OutputInfo
from darkroom.runs.signing import ManifestSigner
from darkroom.storage.store import Store

_NUM_THREADS = 8
_PENDING_BATCHES = 4  # with those threads, per worker: what bounds its memory
_PENDING_OF_VIDEOS = 2  # which take far longer to render than to encode
_POLL_S = 0.5  # between checks, while waiting for room, whether the worker was stopped
_MAX_ERROR_CHARS = 500


@dataclass(frozen=True, slots=True)
class Outcome:
    """One sample after rendering, encoding and placing: a place or an encoded image to place, or an error."""

    sample: Sample
    truncated: bool = False
    error: str | None = None
    encoded: EncodedImage | None = None  # where it still has to be placed in a container
    placed: Placed | None = None
    render_s: float | None = None
    encode_s: float | None = None
    batch_size: int | None = None  # that it was rendered in; None: the renderer's own
    pixels_sha256: str | None = None
    is_filtered: bool = False  # by the renderer's content policy
    cost: float | None = None
    notes: Mapping[str, Value] = field(default_factory=dict)
    scheduler: str | None = None  # class and options, as JSON
    scores: Scores | None = None  # that the run's policy asked for
    reason: str = ""  # why the policy might have refused it
    rejected: tuple[Rejected, ...] = ()  # made in its place, and not kept
    is_dropped: bool = False  # by the policy
    trajectory: Placed | None = None  # how it formed
    trajectory_steps: str | None = None  # and at which steps, as JSON
    overlay: str | None = None  # JSON
    watermark: str | None = None
    stored_pixels_sha256: str | None = None
    edits: Sequence[str] = ()  # what was done to it after it was rendered, by the names of `signing.EDITS`
    sidecar: bytes | None = None  # a signed manifest that still has to be placed
    signed: Placed | None = None  # and where it lies


@dataclass(frozen=True)
class Destination:
    """What the images of one shard share on their way into the store."""

    model: ModelIdentity
    suffix: str = ""  # of the names of what is stored
    features: InlineFeatures | None = None  # where they are made as images are encoded
    overlays: Mapping[int, Overlay] = field(default_factory=dict)  # row -> text that is drawn on its images
    is_held: bool = False  # images are placed later, once they are chosen


class EncoderPool:
    """A pool of threads that encode and put images."""

    def __init__(
        self,
        store: Store,
        output: OutputInfo,
        batch_size: int,
        check_not_stopped: Callable[[], None] = lambda: None,
        profile: Profile = OFF,
        signer: ManifestSigner | None = None,
    ) -> None:
        """`check_not_stopped` raises where the worker was asked to stop, so that no thread waits for room in vain."""
        self._store = store
        self._output = output
        self._check_not_stopped = check_not_stopped
        self._profile = profile
        self._signer = signer
        self._threads = ThreadPoolExecutor(_NUM_THREADS, "encode")
        self._room = threading.BoundedSemaphore((_PENDING_OF_VIDEOS if output.video else _PENDING_BATCHES) * batch_size)

    def submit(self, sample: Sample, image: RenderedImage, render_s: float, where: Destination) -> Future[Outcome]:
        """Hand an image over, as soon as there is room for it."""
        ready_s = time.time()
        while not self._room.acquire(timeout=_POLL_S):
            self._check_not_stopped()
        future = self._threads.submit(self._finish, sample, image, render_s, where, ready_s)
        future.add_done_callback(lambda _: self._room.release())  # cancelled ones too
        return future

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _finish(
        self, sample: Sample, image: RenderedImage, render_s: float, where: Destination, ready_s: float
    ) -> Outcome:
        """Encode one image and, unless it is held, sign it and, where it is an object of its own, store it."""
        outcome = Outcome(sample, image.truncated, render_s=render_s, batch_size=image.batch_size)
        outcome = replace(outcome, is_filtered=image.is_filtered, cost=image.cost, notes=image.notes)
        outcome = replace(outcome, scheduler=image.scheduler)
        if image.pixels is None:
            return replace(outcome, error=image.error or "no pixels")
        sample = as_rendered(sample, image.pixels)
        overlay = where.overlays.get(sample.row.row)
        started = time.perf_counter()
        try:
            with self._profile.span("encode", ready_s):
                finished = finish(
                    image.pixels,
                    overlay,
                    self._output.watermark,
                    lambda pixels: encode_image(sample.request, pixels, where.model, self._output, image.scheduler),
                )
        except EndsRun:
            raise
        except Exception as error:  # encoders raise what they like, and one image costs one record
            return replace(outcome, error=f"not encoded as {self._output.image_format}: {error}")
        encode_s = time.perf_counter() - started
        outcome = replace(outcome, sample=sample, encode_s=encode_s, pixels_sha256=pixels_digest(image.pixels))
        outcome = replace(outcome, overlay=overlay.to_text() if overlay else None, stored_pixels_sha256=finished.sha256)
        outcome = replace(outcome, watermark=finished.watermark, edits=finished.edits)
        if image.trajectory:
            outcome = self._with_trajectory(outcome, image.trajectory, where.suffix)
        if where.features:
            where.features.add(finished.file, sample.request.read_prompt.text, finished.pixels)
        outcome = replace(outcome, encoded=finished.file)
        return outcome if where.is_held else self._placed(outcome, where.suffix)

    def place(self, outcome: Outcome, suffix: str) -> Future[Outcome]:
        """Sign and store an image that was held, where it is an object of its own."""
        return self._threads.submit(self._placed, outcome, suffix)

    def _placed(self, outcome: Outcome, suffix: str) -> Outcome:
        if outcome.encoded is None:
            return outcome
        try:
            sidecar = self._signed(outcome.encoded, outcome.edits)
        except Exception as error:  # of a library of its own kinds of errors
            return without_image(outcome, f"not signed: {first_line(error)}")
        if self._output.layout in CONTAINERS:
            return replace(outcome, sidecar=sidecar)
        with self._profile.span("put"):
            placed = place_image(self._store, outcome.encoded, self._output.image_format, suffix)
            signed = self._place_sidecar(placed.key, sidecar, outcome.encoded) if sidecar else None
        return replace(outcome, encoded=None, placed=placed, signed=signed)

    def _place_sidecar(self, key_of_image: str, sidecar: bytes, image: EncodedImage) -> Placed:
        assert self._signer is not None
        is_own = partial(self._signer.has_signed, image=image, image_format=self._output.image_format)
        return place_sidecar(self._store, key_of_image, sidecar, is_own)

    def _with_trajectory(self, outcome: Outcome, trajectory: Trajectory, suffix: str) -> Outcome:
        steps = steps_text(trajectory.steps)
        data = encode_trajectory(trajectory.pixels, steps)
        with self._profile.span("put"):
            placed = place_trajectory(self._store, outcome.sample.request.image_id, data, suffix)
        return replace(outcome, trajectory=placed, trajectory_steps=steps)

    def _signed(self, encoded: EncodedImage, edits: Sequence[str]) -> bytes | None:
        """None where nothing is signed."""
        if self._signer is None:
            return None
        with self._profile.span("sign"):
            return self._signer.sign(encoded, self._output.image_format, edits)


def without_image(outcome: Outcome, error: str) -> Outcome:
    """One whose image is not kept, and why: nothing is said of the image."""
    kept = Outcome(outcome.sample, outcome.truncated, error, render_s=outcome.render_s, batch_size=outcome.batch_size)
    told = replace(kept, notes=outcome.notes, scheduler=outcome.scheduler, cost=outcome.cost)
    return replace(told, is_filtered=outcome.is_filtered, rejected=outcome.rejected, is_dropped=outcome.is_dropped)


def put_container(
    store: Store,
    output: OutputInfo,
    name: str,
    outcomes: Sequence[Outcome],
    extras: pa.Table,
    profile: Profile = OFF,
) -> list[Outcome]:
    """Store a shard's images in one object, where the run's layout has one; outcomes with their places in it.

    `extras`: the other columns of the outcomes' prompt rows.
    """
    layout = CONTAINERS.get(output.layout)
    if layout is None:
        return list(outcomes)
    images = [outcome.encoded for outcome in outcomes if outcome.encoded]
    own = _own_columns(outcomes, extras) if output.own_columns else None
    sidecars = {outcome.sample.request.image_id: outcome.sidecar for outcome in outcomes if outcome.sidecar}
    with profile.span("put"):
        places: Mapping[str, Placed] = place_container(store, layout, name, images, own) if images else {}
        signed: Mapping[str, Placed] = place_sidecars(store, name, sidecars) if sidecars else {}
    return [
        replace(outcome, encoded=None, sidecar=None, placed=places.get(image_id), signed=signed.get(image_id))
        for outcome in outcomes
        for image_id in [outcome.sample.request.image_id]
    ]


def _own_columns(outcomes: Sequence[Outcome], extras: pa.Table) -> pa.Table:
    """Of those that have an image."""
    own = own_columns([outcome.sample.row.prompt_id for outcome in outcomes], extras)
    return own.filter(pa.array([outcome.encoded is not None for outcome in outcomes], pa.bool_()))


def remove_superseded(store: Store, outcomes: Sequence[Outcome]) -> None:
    """What lay in the way of an attempt's objects: its shard is committed, so nothing can name that now."""
    placed = [each for outcome in outcomes for each in (outcome.placed, outcome.signed, outcome.trajectory) if each]
    store.delete({place.superseded for place in placed if place.superseded})


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who made a record: what all records of one attempt share."""

    model: ModelIdentity
    info: RendererInfo
    cell_id: str
    shard_id: str
    attempt: int
    worker: str


def record(outcome: Outcome, provenance: Provenance) -> Record:
    """Its cost is also that of images that were made in its place."""
    row, request, placed = outcome.sample.row, outcome.sample.request, outcome.placed
    trajectory = outcome.trajectory
    parts = parts_used(provenance.model.parts, request.adapters)
    return Record(
        image_id=request.image_id,
        prompt_id=row.prompt_id,
        prompt=request.prompt,
        sample_index=outcome.sample.sample_index,
        seed=request.seed,
        row=row.row,
        sampling=request.sampling,
        model=provenance.model.repo_id,
        model_revision=provenance.model.revision,
        pipeline_class=provenance.model.pipeline_class,
        cell_id=provenance.cell_id,
        shard_id=provenance.shard_id,
        key=placed.key if placed else None,
        member=placed.member if placed else None,
        offset=placed.offset if placed else None,
        sha256=placed.sha256 if placed else None,
        bytes=placed.size_bytes if placed else None,
        status=_status(outcome),
        error=redacted(outcome.error)[:_MAX_ERROR_CHARS] if outcome.error else None,
        truncated=outcome.truncated,
        darkroom_version=__version__,
        torch_version=provenance.info.versions.get("torch"),
        diffusers_version=provenance.info.versions.get("diffusers"),
        device=provenance.info.device,
        batch_size=outcome.batch_size or provenance.info.batch_size,
        compiled=provenance.info.compiled,
        dtype=provenance.info.dtype,
        render_s=outcome.render_s,
        encode_s=outcome.encode_s,
        attempt=provenance.attempt,
        created_at=datetime.now(UTC),
        pixels_sha256=outcome.pixels_sha256,
        host=socket.gethostname(),
        device_id=provenance.info.device_id,
        worker=provenance.worker,
        is_seeded=provenance.info.is_seeded,
        render_cost=_cost(outcome),
        render_notes=json.dumps(dict(outcome.notes), ensure_ascii=False, sort_keys=True) if outcome.notes else None,
        proved=provenance.info.is_proved,
        model_parts=json.dumps([part.facts for part in parts]) if parts else None,
        openvino_version=provenance.info.versions.get("openvino"),
        scheduler_config=outcome.scheduler,
        policy_scores=scores_text(outcome.scores),
        policy_reason=outcome.reason or None,
        policy_rejected=rejected_text(outcome.rejected),
        trajectory_key=trajectory.key if trajectory else None,
        trajectory_sha256=trajectory.sha256 if trajectory else None,
        trajectory_bytes=trajectory.size_bytes if trajectory else None,
        trajectory_steps=outcome.trajectory_steps,
        overlay=outcome.overlay,
        watermark=outcome.watermark,
        stored_pixels_sha256=outcome.stored_pixels_sha256,
        c2pa_key=outcome.signed.key if outcome.signed else None,
        c2pa_sha256=outcome.signed.sha256 if outcome.signed else None,
        c2pa_bytes=outcome.signed.size_bytes if outcome.signed else None,
        **picture_digests(request),
    )


def _cost(outcome: Outcome) -> float | None:
    costs = [each for each in (outcome.cost, *(other.cost for other in outcome.rejected)) if each is not None]
    return math.fsum(costs) if costs else None


def _status(outcome: Outcome) -> str:
    if outcome.placed:
        return OK
    if outcome.sample.row.error:
        return INVALID
    return FILTERED if outcome.is_filtered or outcome.is_dropped else FAILED
