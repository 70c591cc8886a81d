"""What `verify` says of images that are not made again byte by byte."""

import hashlib
from pathlib import Path

import pandas as pd
import pytest

from tests.jobs.helpers import PAINT, run_here


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "prompts.txt").write_text("a\nb\nc\n")
    given = ("prompts=file", f"prompts.uri={tmp_path / 'prompts.txt'}", f"output.uri={tmp_path / 'run'}")
    assert run_here("generate", *PAINT, *given) == 0
    return tmp_path / "run"


def edit(run: Path, **columns: object) -> pd.DataFrame:
    """Change the first record."""
    [path] = (run / "metadata").rglob("*.parquet")
    frame = pd.read_parquet(path)
    for name, value in columns.items():
        frame.loc[0, name] = value
    frame.to_parquet(path)
    return frame


@pytest.mark.slow
def test_equal_pixels_in_another_file_are_told_apart(run: Path, capsys: pytest.CaptureFixture) -> None:
    frame = edit(run, sha256=hashlib.sha256(b"another encoder's file").hexdigest())
    assert run_here("verify", f"run={run}") == 1
    said = capsys.readouterr().out
    assert f"{frame.loc[0, 'image_id']}: pixels equal, file differs" in said
    assert "2 of 3 images are equal byte by byte" in said
    assert "1 more have equal pixels" in said


@pytest.mark.slow
def test_an_image_that_differs_is_named_with_who_made_it(run: Path, capsys: pytest.CaptureFixture) -> None:
    edit(run, seed=1, host="node-7")
    assert run_here("verify", f"run={run}") == 1
    said = capsys.readouterr().out
    assert "pixels equal, file" not in said
    assert "made by host node-7, device cpu, worker local" in said


@pytest.mark.slow
def test_a_stored_image_that_cannot_be_read_does_not_end_the_comparison(
    run: Path, capsys: pytest.CaptureFixture
) -> None:
    frame = edit(run, seed=1)
    (run / frame.loc[0, "key"]).write_bytes(b"cut")
    assert run_here("verify", f"run={run}") == 1
    assert "the stored one cannot be compared" in capsys.readouterr().out
