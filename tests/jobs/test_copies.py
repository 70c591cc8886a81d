"""Copies of a reference's images are found among a run's, and shown beside them."""

import io
from pathlib import Path

import pytest
from PIL import Image

import darkroom
from darkroom.domain.errors import DarkroomError
from tests.jobs.helpers import PAINT, run_here


@pytest.mark.slow
def test_images_that_lie_in_the_reference_are_found_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    prompts = [f"prompt {number}" for number in range(20)]
    (tmp_path / "p.txt").write_text("\n".join(prompts))
    words = ("prompts=file", f"prompts.uri={tmp_path / 'p.txt'}", f"output.uri={tmp_path / 'run'}")
    assert run_here("generate", *PAINT, *words) == 0
    run = darkroom.open_run(tmp_path / "run")
    with pytest.raises(DarkroomError, match=r"not all of its images have features; run .*evaluate run="):
        run.find_copies(str(tmp_path / "run"), extractors=["pixels"])
    run.evaluate(extractors=["pixels"], metrics=["vendi"])
    training = tmp_path / "training"
    training.mkdir()
    for place, image in enumerate(list(run.images())[:6]):
        image.save(training / f"t{place}.png")  # another file of the same pixels
    for shade in (0, 80, 160):
        Image.new("RGB", (16, 16), (shade, 255 - shade, shade)).save(training / f"flat{shade}.png")
    capsys.readouterr()
    words = (f"reference={training}", "extractors=[pixels]", "cosine=0.9999", "num_pairs=8")
    assert run_here("find_copies", f"run={tmp_path / 'run'}", *words) == 0
    said = capsys.readouterr().out
    assert "pixels.copies" in said
    assert all(f"t{place}.png" in said for place in range(6))
    figure = next(iter(run.figures.values()))["pixels.copies"]
    assert (figure.value, figure.num_images, figure.num_reference) == (0.3, 20, 9)
    [sheet] = run.store.list("copies/")
    assert f"pictures: {run.store.describe(sheet.key)}" in said
    assert Image.open(io.BytesIO(run.store.get(sheet.key))).width > 4 * 2 * 144
    assert run_here("report", f"run={tmp_path / 'run'}") == 0
    refused = {
        "extractors": (["darkroom.evaluation.sharpness:make"], "are scores, and no picture's place"),
        "cosine": (2, "cosine=2"),
        "num_pairs": (0, "num_pairs=0"),
    }
    for name, (value, reason) in refused.items():
        with pytest.raises(DarkroomError, match=reason):
            run.find_copies(str(training), **{name: value})
    with pytest.raises(DarkroomError, match="nothing is there"):
        run.find_copies("/nowhere/at/all")
