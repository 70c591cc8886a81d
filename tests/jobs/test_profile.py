"""`engine.profile=true` on a whole job."""

import json
from pathlib import Path

import pytest

from tests.jobs.helpers import PAINT, run_here


@pytest.mark.slow
def test_a_profiled_run_says_where_its_time_went_and_is_the_same_run(tmp_path: Path, capsys) -> None:
    for name, options in {"plain": (), "profiled": ("engine.profile=true",)}.items():
        assert run_here("generate", *PAINT, f"output.uri={tmp_path / name}", "engine.shard_size=16", *options) == 0
    said = capsys.readouterr().out
    assert "device: busy" in said
    assert not (tmp_path / "plain" / "profile").exists()
    table = (tmp_path / "profiled" / "profile" / "stages.txt").read_text()
    counts = {line.split()[0]: line.split()[1] for line in table.splitlines()}
    # 64 prompts in 4 shards of 2 batches, rows and pictures read apart; reading ends with one look that finds nothing.
    assert [counts[stage] for stage in ("load", "read", "render", "encode", "put", "commit")] == [
        "1", "9", "8", "64", "64", "4"
    ]  # fmt: skip
    trace = json.loads((tmp_path / "profiled" / "profile" / "trace.json").read_text())
    assert sum(event["ph"] == "X" for event in trace["traceEvents"]) == 1 + 9 + 8 + 64 + 64 + 4
    ids = [{path.name for path in (tmp_path / name / "metadata").rglob("*.parquet")} for name in ("plain", "profiled")]
    assert ids[0] == ids[1]
