"""Texts on the images of whole runs: rows that have one, rows that fail alone, and what can be made again."""

import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFont

import darkroom
from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import FAILED, OK
from darkroom.engine.tasks import ShardDone
from darkroom.runs.encoding import pixels_digest
from darkroom.storage.store import StoreSpec, open_store
from tests.jobs.helpers import PAINT, run_here

ROWS = [
    {"prompt": "a cat", "slogan": "Sale", "box": [0.0, 0.5, 1.0, 1.0], "overlay": "Sale"},
    {"prompt": "a dog", "slogan": None, "box": None, "overlay": None},
    {"prompt": "an owl", "slogan": "A text that is far too long for sixteen pixels", "box": None, "overlay": None},
]
KEYS = ("output.overlay.text=slogan", "output.overlay.box=box", "output.overlay.default_colour=#ff0000")


@pytest.fixture(params=["files", "webdataset"])
def words(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    pd.DataFrame(ROWS).to_parquet(tmp_path / "prompts.parquet")
    given = (f"prompts.uri={tmp_path / 'prompts.parquet'}", f"output.uri={tmp_path / 'run'}", "prompts=file")
    return [*PAINT, *given, f"output.layout={request.param}", "prompts.on_invalid=record",
            "sampling.num_images_per_prompt=4"]  # fmt: skip


@pytest.mark.slow
def test_a_run_draws_what_its_rows_say_and_makes_it_again(words: list[str], tmp_path: Path, capsys) -> None:
    assert run_here("generate", *words, *KEYS) == 3  # a row that fails alone
    run = darkroom.open_run(str(tmp_path / "run"))
    found = run.table().to_pandas()
    assert list(found["status"]) == [OK] * 8 + [FAILED] * 4
    assert found["error"][8].startswith("overlay: text 'A text")
    plain = [*words[:-1], f"output.uri={tmp_path / 'plain'}", words[-1]]
    assert run_here("generate", *plain) == 0
    before = darkroom.open_run(str(tmp_path / "plain")).table().to_pandas()
    assert list(found["pixels_sha256"][:8]) == list(before["pixels_sha256"][:8])
    assert found["stored_pixels_sha256"][:4].notna().all()
    assert found["stored_pixels_sha256"][4:].isna().all()
    assert list(found["sha256"][4:8]) == list(before["sha256"][4:8])
    without = darkroom.open_run(str(tmp_path / "plain")).images(prompt="a cat")
    for row, image, bare in zip(found[:4].itertuples(), run.images(prompt="a cat"), without, strict=True):
        pixels, rendered = (np.asarray(each.convert("RGB")) for each in (image, bare))
        assert pixels_digest(pixels) == row.stored_pixels_sha256
        assert (pixels[:8] == rendered[:8]).all()
        assert (pixels[8:] != rendered[8:]).any()
    assert run_here("verify", f"run={tmp_path / 'run'}", "num_images=8") == 0
    shutil.rmtree(tmp_path / "run" / "images")
    assert run_here("repair", f"run={tmp_path / 'run'}") == 0
    assert run_here("verify", f"run={tmp_path / 'run'}", "stored=true") == 0
    with pytest.raises(DarkroomError, match=r"output\.overlay is '\{.*' in this run and '' in the command"):
        run_here("generate", *words)


@pytest.mark.slow
def test_a_retry_draws_too(tmp_path: Path) -> None:
    pd.DataFrame(ROWS[:2]).to_parquet(tmp_path / "prompts.parquet")
    given = (f"prompts.uri={tmp_path / 'prompts.parquet'}", f"output.uri={tmp_path / 'run'}", "prompts=file")
    assert run_here("generate", *PAINT, *given, *KEYS) == 0
    store = open_store(StoreSpec(str(tmp_path / "run")))
    whole = {info.key: store.get(info.key) for info in store.list("images/")}
    from tests.jobs.test_gc import fail_first

    fail_first(store)
    assert run_here("retry", f"run={tmp_path / 'run'}", "engine=local") == 0
    [record] = [each for each in darkroom.open_run(str(tmp_path / "run")).table().to_pylist() if each["overlay"]]
    assert store.get(record["key"]) in whole.values()


def test_bad_columns_and_rows_are_named_before_anything_is_rendered(tmp_path: Path) -> None:
    out = tmp_path / "run"
    for overlay, said in (
        (
            {"text": "slogn"},
            r"overlay\.text=slogn: no such column; the prompts carry slogan, box, source_overlay, prompt",
        ),
        ({"text": "slogan", "default_colour": "blurple"}, "colour 'blurple'"),
        ({"text": "slogan", "default_font": str(tmp_path / "none.ttf")}, r"none\.ttf: cannot be read"),
        ({"box": "box"}, "it does nothing without a text"),
        ({"txt": "slogan"}, "did you mean text"),
        ({"text": "slogan", "box": "slogan"}, "prompts, row 0: box 'Sale': give left"),
    ):
        with pytest.raises(DarkroomError, match=said):
            darkroom.generate(ROWS, model="paint", out=out, overlay=overlay)
    assert not out.exists()


def test_a_column_that_is_called_as_one_of_records_and_the_prompt_itself_are_drawn(tmp_path: Path) -> None:
    for column in ("overlay", "prompt"):
        run = darkroom.generate(
            ROWS[:2], model="paint", height=64, width=64, out=tmp_path / column, overlay={"text": column}
        )
        number = sum(each is not None for each in run.table()["overlay"].to_pylist())
        assert number == {"overlay": 1, "prompt": 2}[column]
        assert Image.open(io.BytesIO((tmp_path / column / run.table()["key"][0].as_py()).read_bytes())).size == (64, 64)


@pytest.mark.slow
def test_a_font_that_changes_under_a_run_ends_it_and_no_image_fails(tmp_path: Path) -> None:
    font = tmp_path / "font.ttf"
    data = ImageFont.load_default(8).path.getvalue()  # type: ignore[union-attr]
    font.write_bytes(data)
    given = {"model": "paint", "engine": darkroom.EngineOptions(shard_size=1), "height": 16, "width": 16}
    given |= {"overlay": {"text": "prompt", "default_font": str(font), "default_box": "0,0,1,1"}}

    def change(event: object) -> None:
        if isinstance(event, ShardDone):
            font.write_bytes(data + b"\0")

    prompts = [str(number) for number in range(9)]
    with pytest.raises(DarkroomError, match="not those that the run began with; put that file back"):
        darkroom.generate(prompts, out=tmp_path / "run", progress=change, **given)
    font.write_bytes(data)
    run = darkroom.generate(prompts, out=tmp_path / "run", **given)
    assert run.table()["status"].to_pylist() == [OK] * 9
