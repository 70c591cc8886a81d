"""Records that nothing was rendered for, as manifests hold them: many shards in little time."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from darkroom.domain.identity import Shard
from darkroom.domain.records import FAILED, OK, Record
from darkroom.domain.settings import Sampling
from darkroom.runs.manifest import to_table

_NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
_SAMPLING = Sampling(scheduler="ddim", guidance_scale=4.0, num_inference_steps=20, height=64, width=64)


def record(shard: Shard, row: int, failed: bool = False, attempt: int = 1) -> Record:
    image_id = f"{row:032x}"
    return Record(
        image_id=image_id,
        prompt_id=f"prompt-{row}",
        prompt=f"a red circle, number {row}",
        sample_index=0,
        seed=row,
        row=row,
        sampling=_SAMPLING,
        model="painter",
        model_revision="none",
        pipeline_class="Painter",
        cell_id=shard.cell_id,
        shard_id=shard.shard_id,
        key=None if failed else f"images/{image_id[:2]}/{image_id}.png",
        member=None,
        offset=None,
        sha256=None if failed else f"{row * attempt:064x}",
        bytes=None if failed else 1000 + row,
        status=FAILED if failed else OK,
        error="out of luck" if failed else None,
        truncated=row % 7 == 0,
        darkroom_version="0",
        torch_version=None,
        diffusers_version=None,
        device="cpu",
        batch_size=8,
        compiled=False,
        dtype="float32",
        render_s=0.1 * attempt,
        encode_s=None,
        attempt=attempt,
        created_at=_NOON + timedelta(seconds=row),
    )


def table(
    shard: Shard, failed: Collection[int] = (), attempt: int = 1, extras: pa.Table | None = None, said: str = ""
) -> pa.Table:
    """A manifest's, one image a row; of the rows in `failed` there is none. `said`: in its metadata."""
    rows = range(shard.start, shard.stop)
    records = [record(shard, row, row in failed, attempt) for row in rows]
    more = pa.table({"number": pa.array(rows, pa.int64())}) if extras is None else extras
    return to_table(records, more, {"darkroom.shard_id": shard.shard_id, "darkroom.said": said})
