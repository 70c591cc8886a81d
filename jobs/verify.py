"""Render a random sample of committed images again and compare SHA-256; exit code 1 where one differs."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from omegaconf import DictConfig

from jobs.build import renderer_spec
from jobs.cli import run_job
from jobs.engine import local_device
from jobs.runs import OpenedRun, models_of, opened
from pipeline.domain.cells import ModelIdentity
from pipeline.domain.errors import DarkroomError
from pipeline.encoding.images import decode
from pipeline.rendering.loading import load_renderer
from pipeline.rendering.renderer import Renderer
from pipeline.runs.reading import image_bytes, records, sample
from pipeline.runs.records import OK, Record
from pipeline.runs.run import OutputInfo
from pipeline.storage.store import Store
from pipeline.worker.batches import batches
from pipeline.worker.outcomes import recorded_sample
from pipeline.worker.worker import encode_member


def run(config: DictConfig) -> int:
    found = opened(config)
    chosen = _chosen(config, found.store)
    device = local_device(config.device)
    models = models_of([found.cells[record.cell_id] for record in chosen], device)
    differing = 0
    for (identity, batch_size), group in _groups(found, chosen).items():
        renderer = load_renderer(renderer_spec(models[identity], device, batch_size))
        rendered = _again(renderer, group, identity, found.info.output)
        differing += sum(_compare(record, data, found.store) for record, data in rendered)
        _say_how(group, renderer)
    print(f"{len(chosen) - differing} of {len(chosen)} images are equal byte by byte when they are rendered again")
    return 1 if differing else 0


def _groups(found: OpenedRun, chosen: Sequence[Record]) -> dict[tuple[ModelIdentity, int], list[Record]]:
    """By model and batch size: what must be equal for equal bytes."""
    groups = defaultdict(list)
    for record in chosen:
        groups[found.cells[record.cell_id].cell.model, record.batch_size].append(record)
    return groups


def _chosen(config: DictConfig, store: Store) -> list[Record]:
    if config.image_id is None:
        chosen = sample(store, config.num_images, config.seed)
    else:
        chosen = [record for record in records(store) if record.image_id == config.image_id and record.status == OK]
    if not chosen:
        asked = f"image_id={config.image_id}" if config.image_id else "an image"
        raise DarkroomError(f"{store.describe()}: {asked} is not among the committed images; see `darkroom status`")
    return chosen


def _again(
    renderer: Renderer, group: Sequence[Record], model: ModelIdentity, output: OutputInfo
) -> Iterator[tuple[Record, bytes | None]]:
    """Each record with the bytes that its image has now; None where it could not be rendered."""
    by_id = {record.image_id: record for record in group}
    for batch in batches([recorded_sample(record) for record in group], renderer.info.batch_size):
        images = renderer.render([item.request for item in batch])
        for item, image in zip(batch, images, strict=True):
            data = None if image.pixels is None else encode_member(item, image, model, output).data
            yield by_id[item.request.image_id], data


def _compare(record: Record, data: bytes | None, store: Store) -> bool:
    """Whether the image differs; says how."""
    now = hashlib.sha256(data).hexdigest() if data else "nothing"
    if now == record.sha256:
        return False
    print(f"{record.image_id} differs ({store.describe(record.key or '')}): recorded {record.sha256}, now {now}")
    if data:
        print(f"  {_pixel_difference(image_bytes(store, record), data)}; prompt row {record.row}, seed {record.seed}")
    return True


def _pixel_difference(stored: bytes, rendered: bytes) -> str:
    old, new = (decode(data).astype(np.int16) for data in (stored, rendered))
    if old.shape != new.shape:
        return f"stored {old.shape}, now {new.shape}"
    difference = np.abs(old - new)
    return f"{np.count_nonzero(difference)} of {old.size} values differ, by at most {difference.max()}"


def _say_how(group: Sequence[Record], renderer: Renderer) -> None:
    """Software and device of then and now, where they are not the same: why bytes may differ."""
    then = {(record.device, record.torch_version, record.diffusers_version) for record in group}
    now = (renderer.info.device, renderer.info.versions.get("torch"), renderer.info.versions.get("diffusers"))
    for other in sorted(then - {now}, key=str):
        print(f"note: rendered then on {other}, now on {now}; low bits may differ")


if __name__ == "__main__":
    run_job("verify")
