"""Videos from the command to the record and its scores, by the painter; of models in test_families.py."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import darkroom
from darkroom.domain.errors import DarkroomError
from darkroom.runs.encoding import index_tar
from darkroom.runs.images import image_bytes
from darkroom.runs.layouts import LAYOUTS
from darkroom.runs.reading import records
from darkroom.runs.videos import frames_of, num_frames
from darkroom.storage.store import Store, open_store, parse_spec
from tests.jobs.helpers import PAINT, copied, named, run_here
from tests.reporting.driving import browser
from tests.reporting.pages import CHROMIUM

pytest.importorskip("av", reason="needs the optional package av")

PROMPTS = ("prompts=template", "prompts.pattern='a {n} circle'", "prompts.slots={n: [red, blue, green]}")
PAINTED = (*PAINT, *PROMPTS, "engine.shard_size=2", "sampling.num_frames=5")

pytestmark = pytest.mark.usefixtures("own_cache")


def generated(folder: Path, *words: str) -> Store:
    assert run_here("generate", *words, f"output.uri={folder}") == 0
    return open_store(parse_spec(str(folder)))


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A finished run that stays as it is."""
    return generated(tmp_path_factory.mktemp("painted") / "run", *PAINTED)


def test_a_record_is_of_one_video(painted: Store) -> None:
    found = list(records(painted))
    assert len(found) == 3
    for record in found:
        data = image_bytes(painted, record)
        assert record.key
        assert record.key.endswith(f"{record.image_id}.mp4")
        assert (record.sampling.num_frames, record.sampling.fps, record.bytes) == (5, 8, len(data))
        assert record.sha256 == hashlib.sha256(data).hexdigest()
        assert np.stack(list(frames_of(data))).shape == (5, 16, 16, 3)
    run = darkroom.open_run(painted.spec.uri)
    assert run.frames(found[0].image_id).shape == (5, 16, 16, 3)
    assert [image.size for image in run.images()] == [(16, 16)] * 3


def test_a_video_that_is_lost_is_found_missing_and_made_again(painted: Store, tmp_path: Path) -> None:
    run = copied(painted, str(tmp_path / "run"))
    assert run_here("verify", *named(run)) == 0
    record = next(iter(records(run)))
    assert record.key
    data = run.get(record.key)
    run.delete([record.key])
    assert run_here("verify", *named(run), "stored=true") == 1
    assert run_here("repair", *named(run)) == 0
    assert run.get(record.key) == data
    assert run_here("gc", *named(run), "dry_run=false") == 0
    assert run_here("verify", *named(run), "stored=true") == 0


@pytest.mark.parametrize("layout", LAYOUTS[1:])
def test_containers_hold_the_same_files(painted: Store, tmp_path: Path, layout: str) -> None:
    packed = generated(tmp_path / "run", *PAINTED, f"output.layout={layout}")
    pairs = zip(records(painted), records(packed), strict=True)
    assert all(image_bytes(painted, one) == image_bytes(packed, other) for one, other in pairs)
    assert run_here("verify", *named(packed), "stored=true") == 0


def test_rows_have_frames_and_rates_of_their_own(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.csv"
    pd.DataFrame({"prompt": ["a", "b"], "num_frames": [3, 7], "fps": [4, 24]}).to_csv(prompts, index=False)
    words = (*PAINT, "prompts=file", f"prompts.uri={prompts}", "sampling.num_frames=5", "output.video_format=zip")
    run = generated(tmp_path / "run", *words)
    found = [(each.sampling.num_frames, each.sampling.fps) for each in records(run)]
    assert found == [(3, 4), (7, 24)]
    assert [num_frames(image_bytes(run, each)) for each in records(run)] == [3, 7]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("output.watermark.text=abcd",), "output.watermark.text: it is of images"),
        (("output.image_format=webp",), "give output.video_format"),
        (("output.quality=80",), "output.quality=80"),
        (("output.video_format=gif", "output.crf=20"), "output.crf=20: it is of mp4 and webm"),
        (("sampling.num_frames=null", "output.crf=20"), "output.crf=20: darkroom/paint makes images"),
        (("sampling.num_frames=null", "sampling.fps=20"), "fps: darkroom/paint makes images"),
        (("model=demo",), "takes no num_frames"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    with pytest.raises(DarkroomError, match=told):
        run_here("generate", *PAINTED, *words, f"output.uri={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()


def test_frames_are_an_axis_and_cells_share_their_noise(tmp_path: Path) -> None:
    words = (*PAINTED[:-1], "grid.axes.num_frames=[1, 3]", f"output.uri={tmp_path / 'run'}")
    assert run_here("sweep", *words) == 0
    run = open_store(parse_spec(str(tmp_path / "run")))
    by_frames = {record.sampling.num_frames: record for record in records(run) if record.row == 0}
    assert by_frames.keys() == {1, 3}
    assert by_frames[1].seed == by_frames[3].seed


def test_videos_are_handed_over_as_they_are(painted: Store, tmp_path: Path) -> None:
    run = darkroom.open_run(painted.spec.uri)
    run.export(tmp_path / "set", layout="webdataset")
    card = (tmp_path / "set" / "README.md").read_text()
    assert '{"name": "mp4", "dtype": "video"}' in card
    assert "text-to-video" in card
    files = index_tar((tmp_path / "set" / "000000.tar").read_bytes())
    assert {image_id: found.data for image_id, found in files.items()} == {
        record.image_id: image_bytes(painted, record) for record in records(painted)
    }
    for words, told in (({"layout": "imagefolder"}, "it is of images"), ({"size": 8}, "not encoded anew")):
        with pytest.raises(DarkroomError, match=told):
            run.export(tmp_path / "other", **{"layout": "webdataset", **words})


@pytest.mark.slow
def test_scores_are_of_frames(painted: Store, tmp_path: Path) -> None:
    run = darkroom.open_run(copied(painted, str(tmp_path / "run")).spec.uri)
    found = run.evaluate(extractors=["demo_clip_frames", "pixels"], reference=None).evaluation
    [figures] = found.cells.values()
    assert -100 <= figures["demo_clip_frames.frame_clip_score"].value <= 100
    assert figures["demo_clip_frames.frame_consistency"].value < 1


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
def test_the_page_plays_a_video_until_it_is_closed(painted: Store, tmp_path: Path) -> None:
    run = copied(painted, str(tmp_path / "run"))
    assert run_here("report", *named(run)) == 0
    with browser(tmp_path) as tab:
        tab.open(
            tmp_path / "run" / "report" / "index.html", "document.querySelectorAll('#sheet .tile .plays').length === 3"
        )
        tab.evaluate("document.querySelector('#sheet .tile').click()")
        video = "document.querySelector('dialog video')"
        tab.wait(f"{video}.currentTime > 0")
        said = tab.evaluate(f"[{video}.muted, {video}.loop, {video}.controls, {video}.poster.endsWith('.webp')]")
        assert said == [True] * 4
        tab.evaluate("document.querySelector('dialog').close()")
        tab.wait(f"{video}.paused")
        assert tab.console == []
