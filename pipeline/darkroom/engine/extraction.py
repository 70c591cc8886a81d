"""Features of pictures in memory: of any pictures, and of a shard's while it is rendered.

A picture that an extractor fails on costs that picture's features alone: its row is NaN, with the reason beside it.
"""

import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pyarrow as pa

from darkroom.domain.errors import DarkroomError, EndsRun, WrongModel
from darkroom.domain.progress import OFF, Profile
from darkroom.engine.device import Device
from darkroom.evaluation.extractor import CaptionExtractor, Extractor, ImageScorer, RowScorer, Scores
from darkroom.evaluation.scorer_process import ScorerDied
from darkroom.prompts.extras import json_values
from darkroom.rendering.renderer import FatalDeviceError, explained
from darkroom.runs.encoding import LOSSLESS, EncodedImage, decode
from darkroom.runs.features import ImageFeatures, ShardFeatures, joined_features
from darkroom.runs.videos import some_frames, video_in

_MAX_ERROR_CHARS = 300
_CHUNK = 32  # pictures of a shard that are held before their features are made
_MOST_WAITING = 4  # chunks that wait for a scorer's process
P = ParamSpec("P")
T = TypeVar("T")
LoadExtractors = Callable[[], Sequence[Extractor]]


@dataclass(frozen=True, eq=False)
class Picture:
    """One image to make features of."""

    image_id: str
    prompt: str  # its words, without weights
    pixels: np.ndarray  # (H, W, 3) uint8 RGB of its file, of a video the middle frame
    sha256: str = ""  # of its file, where that is known already
    row: Mapping[str, Any] = field(default_factory=dict)  # of its prompt: `prompt_rows`
    video: bytes = field(default=b"", repr=False)  # the file that it is the middle frame of; empty: a picture

    def seen(self, num_frames: int) -> np.ndarray:
        """What an extractor looks at: pixels, or so many frames of the video, (F, H, W, 3)."""
        if not num_frames:
            return self.pixels
        if not self.video:
            raise ValueError("it is an image, and frames of a video are looked at")
        return np.stack(some_frames(self.video, num_frames))


def columns_read(extractors: Iterable[Extractor]) -> list[str]:
    """Columns of the prompts that any of them asks for."""
    return list(dict.fromkeys(name for extractor in extractors for name in extractor.info.columns))


def prompt_rows(names: Sequence[tuple[str, int]], extras: pa.Table, columns: Sequence[str]) -> list[dict[str, Any]]:
    """What a RowScorer is told of images by (prompt_id, sample_index), whose prompts' other columns are `extras`.

    Raises DarkroomError for a column that is not there.
    """
    for column in columns:
        if column not in extras.column_names:
            raise no_column(column, extras.column_names)
    values = [json_values(extras.schema.field(name), extras.column(name)) for name in columns]
    rows = zip(*values, strict=True) if columns else [()] * len(names)
    return [
        {"prompt_id": prompt_id, "sample_index": index, "columns": dict(zip(columns, row, strict=True))}
        for (prompt_id, index), row in zip(names, rows, strict=True)
    ]


def no_column(column: str, there: Iterable[str], extractor: str = "a scorer") -> DarkroomError:
    known = ", ".join(there) or "no other than those that Darkroom reads"
    return DarkroomError(
        f"extractors: {extractor} reads column {column!r} of the prompts, and there is none; there are {known}"
    )


def extract_by_all(extractors: Sequence[Extractor], pictures: Sequence[Picture]) -> list[ShardFeatures]:
    """For each extractor the features of N pictures, and how well each fits its prompt."""
    return [extract(extractor, pictures) for extractor in extractors]


def extract(extractor: Extractor, pictures: Sequence[Picture]) -> ShardFeatures:
    """All at once; each alone where that fails, so that those without features are the ones that fail alone."""
    if not pictures:
        none = np.empty((0, extractor.info.dimension), np.float32)
        return ShardFeatures(_without_captions((), none), (), ())
    try:
        return _made(extractor, pictures)
    except (EndsRun, WrongModel):
        raise
    except (Exception, SystemExit) as error:  # a plug-in may well call sys.exit
        if _is_device_fault(error):
            raise explained(error) from error
        if len(pictures) > 1:
            return joined_features([extract(extractor, [picture]) for picture in pictures])
        reason = f"{type(error).__name__}: {error}"[:_MAX_ERROR_CHARS]
        return without_features(extractor, pictures[0].image_id, pictures[0].sha256, reason)


def _made(extractor: Extractor, pictures: Sequence[Picture]) -> ShardFeatures:
    digests = tuple(picture.sha256 for picture in pictures)
    if isinstance(extractor, RowScorer):
        return ShardFeatures(*_scored(extractor, pictures, digests))
    images = _checked(_features_by(extractor, pictures), extractor)
    return ShardFeatures(images, digests, tuple(_finite_fault(row) for row in images.features))


def _scored(
    scorer: RowScorer, pictures: Sequence[Picture], digests: tuple[str, ...]
) -> tuple[ImageFeatures, tuple[str, ...], tuple[str, ...]]:
    """The arguments of ShardFeatures: a score that does not apply, which the scorer says as None, is NaN there, and no
    error; one that is NaN itself is one, as of every other scorer."""
    rows = [{**picture.row, "image_id": picture.image_id, "prompt": picture.prompt} for picture in pictures]
    answers = scorer.row_scores([picture.seen(scorer.info.num_frames) for picture in pictures], rows)
    if len(answers) != len(pictures):
        raise ValueError(f"{scorer.info.name} gave {len(answers)} answers for {len(pictures)} pictures")
    names = [score.name for score in scorer.info.named_scores]
    none = dict.fromkeys(names)
    found = [none if isinstance(answer, str) else answer for answer in answers]
    scores = np.array([[answer[name] for name in names] for answer in found], np.float32)  # None becomes NaN
    errors = tuple(
        answer[:_MAX_ERROR_CHARS] if isinstance(answer, str) else _score_fault(answer, row)
        for answer, row in zip(answers, scores, strict=True)
    )
    ids = tuple(picture.image_id for picture in pictures)
    return _without_captions(ids, scores), digests, errors


def without_features(extractor: Extractor, image_id: str, sha256: str, reason: str) -> ShardFeatures:
    """One image without features."""
    features = np.full((1, extractor.info.dimension), np.nan, np.float32)
    return ShardFeatures(_without_captions((image_id,), features), (sha256,), (reason,))


def _is_device_fault(error: BaseException) -> bool:
    """The fault is not the picture's: another worker, or the same one later, may well make its features."""
    if isinstance(error, ScorerDied):  # whose last words may well be of its own device
        return False
    is_lost = isinstance(explained(error), FatalDeviceError)
    return is_lost or isinstance(error, MemoryError) or "out of memory" in str(error)


def _features_by(extractor: Extractor, pictures: Sequence[Picture]) -> ImageFeatures:
    image_ids = tuple(picture.image_id for picture in pictures)
    pixels = [picture.seen(extractor.info.num_frames) for picture in pictures]
    prompts = [picture.prompt for picture in pictures]
    if isinstance(extractor, ImageScorer):
        scores = np.asarray(extractor.scores(pixels, prompts), np.float32)
        return _without_captions(image_ids, scores[:, None] if scores.ndim == 1 else scores)
    features = extractor.features(pixels)
    if not isinstance(extractor, CaptionExtractor):
        return _without_captions(image_ids, features)
    distinct = list(dict.fromkeys(prompts))  # cells and samples share prompts
    rows = [distinct.index(prompt) for prompt in prompts]
    cosines = _cosines(features, extractor.caption_features(distinct)[rows])
    return ImageFeatures(image_ids, features, cosines, np.asarray(extractor.truncated(distinct), bool)[rows])


def _checked(images: ImageFeatures, extractor: Extractor) -> ImageFeatures:
    expected = (len(images.image_ids), extractor.info.dimension)
    if images.features.shape != expected:
        raise ValueError(f"{extractor.info.name} gave features of shape {images.features.shape}, not {expected}")
    return images


def _finite_fault(row: np.ndarray) -> str:
    return "" if np.isfinite(row).all() else "its features are not finite numbers"


def _score_fault(answer: Scores, row: np.ndarray) -> str:
    """`row`: the same in float32."""
    is_nan = any(value is not None and math.isnan(value) for value in answer.values())
    return "its scores are not finite numbers" if is_nan or np.isinf(row).any() else ""


def _without_captions(image_ids: tuple[str, ...], features: np.ndarray) -> ImageFeatures:
    unknown = np.full(len(image_ids), np.nan, np.float32)
    return ImageFeatures(image_ids, features, unknown, np.zeros(len(image_ids), bool))


def _cosines(features: np.ndarray, captions: np.ndarray) -> np.ndarray:
    """(N,) float32 in [-1, 1]; `captions` are of unit length."""
    lengths = np.linalg.norm(features.astype(np.float64), axis=1)
    products = np.einsum("nd,nd->n", features, captions, dtype=np.float64)
    cosines: np.ndarray = np.clip(products / np.maximum(lengths, 1e-12), -1, 1)
    return cosines.astype(np.float32)


class Scoring:
    """A thread for extractors that wait for a process of their own, so that the device need not wait for it too.

    Who submits waits while _MOST_WAITING calls do, so that pictures do not pile up in memory.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "scoring")
        self._room = threading.BoundedSemaphore(_MOST_WAITING)

    def submit(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        self._room.acquire()
        future = self._thread.submit(call, *args, **kwargs)
        future.add_done_callback(lambda _: self._room.release())
        return future

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class Lane:
    """Extractors that share a thread."""

    thread: Device | Scoring
    extractors: Sequence[Extractor]


class InlineFeatures:
    """Features of one shard's images while they are in memory: nothing is stored or fetched for them.

    They are of what the image's file shows: a lossless one is not decoded, and a lossy one shows other pixels than
    those that were rendered. Extractors run on their lane's thread; images come from any.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        image_format: str,
        profile: Profile = OFF,
        rows: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """`rows`: of each image, by its image_id, what `prompt_rows` says."""
        self._lanes = lanes
        self._rows = rows or {}
        self._is_lossless = image_format in LOSSLESS
        self._profile = profile
        self._adding = threading.Lock()
        self._waiting: list[Picture] = []
        self._parts: list[Future[dict[str, ShardFeatures]]] = []  # by extractor_id
        self._unreadable: list[dict[str, ShardFeatures]] = []  # one image each

    def add(self, image: EncodedImage, caption: str, pixels: np.ndarray) -> None:
        """An image that was encoded from these pixels; its features are made between the device's batches."""
        try:
            shown = pixels if self._is_lossless and pixels.ndim == 3 else decode(image.data)
        except DarkroomError as error:  # such as an image that is larger than any that is read
            extractors = (each for lane in self._lanes for each in lane.extractors)
            self._unreadable.append(
                {each.info.extractor_id: without_features(each, image.image_id, "", str(error)) for each in extractors}
            )
            return
        with self._adding:
            row = self._rows.get(image.image_id, {})
            self._waiting.append(Picture(image.image_id, caption, shown, row=row, video=video_in(image.data)))
            if len(self._waiting) >= _CHUNK:
                self._flush()

    def of(self, stored: Mapping[str, str]) -> dict[str, ShardFeatures]:
        """extractor_id -> features of these images (image_id -> its file's digest), of all that were added."""
        with self._adding:
            self._flush()
        found: dict[str, list[ShardFeatures]] = {}
        for part in (*(part.result() for part in self._parts), *self._unreadable):
            for extractor_id, features in part.items():
                found.setdefault(extractor_id, []).append(features)
        return {extractor_id: in_order(joined_features(parts), stored) for extractor_id, parts in found.items()}

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._parts += [lane.thread.submit(self._extract, lane.extractors, waiting) for lane in self._lanes]

    def _extract(self, extractors: Sequence[Extractor], pictures: Sequence[Picture]) -> dict[str, ShardFeatures]:
        with self._profile.span("features"):
            found = extract_by_all(extractors, pictures)
        return {each.info.extractor_id: features for each, features in zip(extractors, found, strict=True)}


def in_order(whole: ShardFeatures, stored: Mapping[str, str]) -> ShardFeatures:
    """In the order of `stored`, whatever order the images came in."""
    found = whole.of(stored)
    return replace(found, sha256s=tuple(stored[image_id] for image_id in found.image_ids))
