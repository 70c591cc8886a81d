"""Watermarks in the images of whole runs: counted where they do not hold, made again, and told by the report."""

from pathlib import Path

import numpy as np
import pytest

import darkroom
from darkroom.domain.errors import DarkroomError
from darkroom.rendering import renderer
from darkroom.runs.encoding import pixels_digest
from darkroom.runs.signing_keys import TEST
from darkroom.runs.watermarks import is_found
from tests.jobs.helpers import run_here
from tests.runs.pictures import natural

WORDS = ("model=paint", "engine=local", "sampling.height=256", "sampling.width=256")


def painted(request) -> np.ndarray:
    """Like a photograph; for prompts of cut-outs a patch on white."""
    if "cut-out" not in request.prompt:
        return natural(request.seed % 1000, 256)
    picture = np.full((256, 256, 3), 255, np.uint8)
    picture[60:200, 60:200] = (200, 30, 30)
    return picture


@pytest.mark.slow
@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_a_run_is_marked_and_says_where_it_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, image_format: str
) -> None:
    monkeypatch.setattr(renderer, "paint", painted)
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a street\na cut-out\na wood\na dune\n")
    given = ("prompts=file", f"prompts.uri={prompts}", f"output.uri={tmp_path / 'run'}", "output.layout=webdataset")
    marks = ("output.watermark.text=Acme", f"output.c2pa.certificate={TEST}", f"output.image_format={image_format}")
    assert run_here("generate", *WORDS, *given, *marks) == 0
    assert "1 images do not hold the watermark, and were stored without" in capsys.readouterr().out
    run = darkroom.open_run(str(tmp_path / "run"))
    found = run.table().to_pandas()
    assert list(found["watermark"]) == ["found", "not found", "found", "found"]
    assert list(found["stored_pixels_sha256"].isna()) == [False, True, False, False]
    for row, image in zip(found.itertuples(), run.images(), strict=True):
        pixels = np.asarray(image.convert("RGB"))
        assert is_found(pixels, "Acme") == (row.watermark == "found")
        if image_format == "png":
            is_marked = row.watermark == "found"
            assert pixels_digest(pixels) == (row.stored_pixels_sha256 if is_marked else row.pixels_sha256)
    for check in ("num_images=4", "c2pa=true", "stored=true"):
        assert run_here("verify", f"run={tmp_path / 'run'}", check) == 0
    capsys.readouterr()
    assert run_here("status", f"run={tmp_path / 'run'}") == 0
    assert "unmarked:  1 images" in capsys.readouterr().out
    run.report()
    page = (tmp_path / "run" / "report" / "index.html").read_text()
    assert "“Acme” in 3 images; 1 do not hold it and are stored without" in page
    assert "found in 4 stored images, drawn at random" in page
    assert "3 as stored" in page


def test_what_is_too_small_is_refused_before_anything_is_rendered(tmp_path: Path) -> None:
    with pytest.raises(DarkroomError, match="64x64 pixels: a watermark holds from 256x256 on"):
        darkroom.generate(["a"], model="paint", out=tmp_path / "run", watermark="Acme")
    with pytest.raises(DarkroomError, match="watermark='ab': give 3 to 8"):
        darkroom.generate(["a"], model="paint", out=tmp_path / "run", watermark="ab")
    assert not (tmp_path / "run").exists()
    rows = [{"prompt": "a", "height": 128, "width": 256}, {"prompt": "b"}]
    run = darkroom.generate(rows, model="paint", height=256, width=256, out=tmp_path / "run", watermark="Acme")
    [failure] = run.failures
    assert str(failure.error).startswith("256x128 pixels: a watermark holds")
