"""Small committed runs of the paint renderer, with features and figures as an evaluation would leave them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from darkroom.domain.identity import Cell
from darkroom.domain.records import OK
from darkroom.domain.settings import ModelRef
from darkroom.engine.planning import plan, shard_tasks
from darkroom.evaluation.figures import Evaluation, Figure, Metric, put_evaluation
from darkroom.reporting.building import ReportOptions, build
from darkroom.reporting.content import ReportContent
from darkroom.runs import manifest
from darkroom.runs.cells import CellInfo, add_cells
from darkroom.runs.features import ImageFeatures, ShardFeatures, put_features
from darkroom.runs.reading import present_images
from darkroom.runs.run import RunInfo, create_or_check
from darkroom.storage.store import Store, open_store, parse_spec
from tests.engine.helpers import CELL, Misbehaving, dataset, run_info, worker

EXTRACTOR_ID = "0123456789abcdef"
CLIP = Metric(
    "demo_clip.clip_score", "CLIP score", True, "mean of 100 cos", "95 % bootstrap", "demo_clip", EXTRACTOR_ID,
    "sha256:abc", "bicubic", "", "",
)  # fmt: skip
FID = replace(
    CLIP, name="inception_v3.fid", title="FID", higher_is_better=False, extractor="inception_v3",
    reference="real", reference_digest="r1",
)  # fmt: skip
KID = replace(FID, name="inception_v3.kid", title="KID")


def cell(**settings: object) -> CellInfo:
    return CellInfo(ModelRef(CELL.model.repo_id), Cell(CELL.model, replace(CELL.sampling, **settings)))


def rendered(
    folder: Path,
    prompts: Sequence[str],
    cells: Sequence[CellInfo] = (cell(),),
    layout: str = "files",
    images: int = 1,
    unfinished: int = 0,
    **columns: Sequence,
) -> tuple[Store, RunInfo, dict[str, CellInfo]]:
    """A run in shards of four prompts; `unfinished`: shards that are left out at the end."""
    store = open_store(parse_spec(str(folder)))
    data = dataset(prompts, **columns)
    info = create_or_check(store, run_info(data, layout=layout, images=images))
    by_id = {item.cell.cell_id: item for item in cells}
    add_cells(store, by_id)
    shards = list(plan(info.prompts.num_rows, info.shard_size, list(by_id), info.prompts.fingerprint))
    left = shards[: len(shards) - unfinished]
    painter = worker(info, Misbehaving(), store)
    for task in shard_tasks(iter(left), {name: item.cell for name, item in by_id.items()}, data.blocks):
        painter.run_task(task, 1)
    painter.close()
    return store, info, by_id


def score(store: Store, cosine: Mapping[str, float] | None = None) -> dict[str, float]:
    """Features of every image, with a cosine by its prompt or, without, by its id; image_id -> cosine."""
    cosines = {}
    for name in manifest.committed(store):
        table = manifest.read(store, name, ["image_id", "prompt", "status", "sha256"])
        rows = [row for row in table.to_pylist() if row["status"] == OK]
        own = [cosine[row["prompt"]] if cosine else int(row["image_id"][:6], 16) / 2**24 for row in rows]
        cosines |= {row["image_id"]: value for row, value in zip(rows, own, strict=True)}
        features = np.zeros((len(rows), 3), np.float32)
        ids = tuple(row["image_id"] for row in rows)
        images = ImageFeatures(ids, features, np.float32(own), np.zeros(len(rows), bool))
        digests = tuple(row["sha256"] for row in rows)
        put_features(store, EXTRACTOR_ID, name, ShardFeatures(images, digests, ("",) * len(rows)))
    return cosines


def evaluate(
    store: Store, cells: Mapping[str, CellInfo], *infos: Metric, value: float = 20.0, at: str = "2026-01-01"
) -> None:
    """An evaluation of these cells, a little better in each."""
    figures = {
        cell_id: {info.name: Figure(value + place, value - 1, value + 2, 8, None) for info in infos}
        for place, cell_id in enumerate(cells)
    }
    defined, images = {info.name: info for info in infos}, present_images(store)
    put_evaluation(store, at, Evaluation(f"{at}T00:00:00Z", defined, figures, images=images))


def content(run: tuple[Store, RunInfo, dict[str, CellInfo]], **options: object) -> ReportContent:
    return build(*run, ReportOptions(**options))
