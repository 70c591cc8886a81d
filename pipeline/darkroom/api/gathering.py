"""What is stored of a run's features, read span by span: a single span here, several on the engine's workers.

A span's sums are added up by themselves, and the spans' in their order, so that figures are the same bit for bit
whatever reads them. What is in memory here does not grow with the number of shards.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from darkroom.api.engine import Counting, Engine
from darkroom.api.events import MEASURING, Progress, StageEnded
from darkroom.api.run import Run
from darkroom.api.watching import watched
from darkroom.engine.reading import ReaderSpec, read_in_order
from darkroom.engine.tasks import ReadTask
from darkroom.evaluation.gathering import MOST_HELD, Gathered, Gathering, Part, part_of
from darkroom.runs.features import ExtractorInfo, no_image, paired_parts
from darkroom.runs.listing import Committed
from darkroom.runs.run import RunInfo
from darkroom.storage.store import Store

SPAN = 32_768  # images, about, of shards that follow each other: some seconds of work for one worker
_MOST_AHEAD = 256  # spans that are under way, or wait for one before them

Span = Sequence[Committed]


def spans_of(shards: Iterable[Committed], run: RunInfo) -> Iterator[Span]:
    """Whole shards, of each as many images as were asked for: which shard is in which span depends on nothing else."""
    span: list[Committed] = []
    num_rows = 0
    for each in shards:
        span.append(each)
        num_rows += each.shard.num_rows
        if num_rows * run.num_images_per_prompt >= SPAN:
            yield span
            span, num_rows = [], 0
    if span:
        yield span


def gathered_cell(
    run: Run, shards: Iterable[Committed], num_images: int, info: ExtractorInfo, engine: Engine, progress: Progress
) -> Gathered:
    """What figures need to know of these shards' images, about `num_images`.

    Raises FeaturesMissing where some have not been looked at, and DarkroomError where there is no image.
    """
    gathering = Gathering(MOST_HELD)

    def reading(span: Span) -> Callable[[Store], Part]:
        return partial(_summed, shards=span, info=info, known=gathering.keys, most=MOST_HELD)

    read_spans(run, MEASURING, num_images, shards, reading, gathering.add, engine, progress, _most_summed)
    if gathering.is_empty:
        raise no_image(run.store)
    return gathering.gathered


def _summed(store: Store, shards: Span, info: ExtractorInfo, known: np.ndarray, most: int) -> Part:
    """On a worker."""
    return part_of(paired_parts(store, shards, info.extractor_id, info.dimension), known, most)


def _most_summed(num_given: int) -> int:
    """A span brings the images that may be held in the end: all of the first ones, and ever fewer of later ones, since
    it is told which are held by then. So spans together bring about as many as are held, if few begin at first."""
    return min(max(2, num_given), _MOST_AHEAD)


def read_spans(
    run: Run,
    stage: str,
    num_images: int,
    shards: Iterable[Committed],
    reading: Callable[[Span], Callable[[Store], Any]],
    each: Callable[[Any], None],
    engine: Engine,
    progress: Progress,
    most_ahead: Callable[[int], int] = lambda _: _MOST_AHEAD,
) -> None:
    """`each` is given what `reading` makes of every span, in their order: here of a single one, else on workers.

    `num_images`: about; `most_ahead`: see `read_in_order`.
    """
    spans = spans_of(shards, run.info)
    first, second = next(spans, None), next(spans, None)
    if first is None:
        return
    if second is None:
        each(reading(first)(run.store))
        return
    engine, per_row = engine.for_reading, run.info.num_images_per_prompt
    counting = Counting(progress, stage, num_images)
    tasks = (
        ReadTask(_name(span), sum(one.shard.num_rows for one in span) * per_row, reading(span))
        for span in chain((first, second), spans)
    )
    dispatcher = engine.dispatcher(ReaderSpec(run.store.spec, stage))
    with watched(counting.meter, engine.options, run.store, progress):
        read_in_order(dispatcher, tasks, each, counting, most_ahead)
    progress(StageEnded(stage))


def _name(span: Span) -> str:
    first, last = span[0].shard, span[-1].shard
    cells = first.cell_id if first.cell_id == last.cell_id else f"{first.cell_id} to {last.cell_id}"
    return f"{len(span)} shards (cell {cells}, rows {first.start} to {last.stop - 1})"
