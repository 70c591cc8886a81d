"""How pictures form, from the command to the page: on the embedded model, beside a run that has the same images."""

import io
import json
import re
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import pytest
from PIL import Image

from darkroom.domain.errors import DarkroomError
from darkroom.domain.trajectories import parse_steps
from darkroom.evaluation.figures import Evaluation, put_evaluation
from darkroom.runs.encoding import decode
from darkroom.runs.files import TRAJECTORIES_PREFIX, manifest_key
from darkroom.runs.images import image_bytes
from darkroom.runs.manifest import committed
from darkroom.runs.reading import records
from darkroom.storage.store import Store, open_store, parse_spec
from tests.jobs.helpers import PAINT, copied, named, run_here

PROMPTS = ("prompts=template", "prompts.pattern='a {n} circle'", "prompts.slots={n: [red, blue, green]}")
DEMO = ("model=demo", "engine=local", "engine.batch_size=4", "engine.shard_size=2", "sampling.num_inference_steps=4")
SWEEP = (*DEMO, *PROMPTS, "grid.axes.guidance_scale=[1, 4]", "sampling.num_images_per_prompt=2")
WITH = ("output.trajectory=true", "output.trajectory_prompts=2", "output.trajectory_steps=[1, 3]")


def swept(folder: Path, *more: str) -> Store:
    assert run_here("sweep", *SWEEP, f"output.uri={folder}", *more) == 0
    return open_store(parse_spec(str(folder)))


@pytest.fixture(scope="module")
def formed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A finished run that stays as it is."""
    return swept(tmp_path_factory.mktemp("formed") / "run", *WITH)


@pytest.fixture
def run(formed: Store, tmp_path: Path) -> Store:
    return copied(formed, str(tmp_path / "run"))


@pytest.mark.slow
def test_images_are_those_of_a_run_without(formed: Store, tmp_path: Path) -> None:
    plain = list(records(swept(tmp_path / "plain")))
    found = list(records(formed))
    assert [(each.image_id, each.sha256, each.pixels_sha256, each.key) for each in plain] == [
        (each.image_id, each.sha256, each.pixels_sha256, each.key) for each in found
    ]
    with_one = [each for each in found if each.trajectory_key]
    assert [(each.row, each.sample_index) for each in with_one] == [(0, 0), (1, 0)] * 2
    assert not any(each.trajectory_key for each in plain)
    for each in with_one:
        steps = parse_steps(each.trajectory_steps or "")
        assert [step.step for step in steps] == [1, 3, None]
        strip, image = decode(formed.get(each.trajectory_key or "")), decode(image_bytes(formed, each))
        height, width = image.shape[:2]
        assert strip.shape == (2 * height, 3 * width, 3)
        assert np.array_equal(strip[:height, -width:], image)
        assert np.array_equal(strip[height:, -width:], image)


@pytest.mark.slow
def test_a_run_that_lost_a_manifest_ends_as_an_undisturbed_one(formed: Store, run: Store, tmp_path: Path) -> None:
    first = next(committed(run))
    run.delete([manifest_key(first), next(run.list(TRAJECTORIES_PREFIX)).key])
    swept(tmp_path / "run", *WITH)
    assert {info.key: run.get(info.key) for info in run.list(TRAJECTORIES_PREFIX)} == {
        info.key: formed.get(info.key) for info in formed.list(TRAJECTORIES_PREFIX)
    }


@pytest.mark.slow
def test_rows_that_a_run_grows_by_have_theirs_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of as many as are asked for; their shards start past the rows before them."""
    words = (
        "model=demo",
        "engine=local",
        "engine.batch_size=1",
        "engine.shard_size=4",
        "sampling.num_inference_steps=1",
    )
    prompts, place = tmp_path / "prompts.txt", f"output.uri={tmp_path / 'run'}"
    file = ("prompts=file", f"prompts.uri={prompts}", place)
    prompts.write_text("a red circle\n")
    asked = ("output.trajectory=true", "output.trajectory_prompts=2")
    assert run_here("generate", *words, *file, *asked) == 0
    prompts.write_text("a red circle\na blue square\na green cross\n")
    assert run_here("generate", *words, *file, *asked, "prompts.grow=true") == 0
    capsys.readouterr()
    assert run_here("verify", f"run={tmp_path / 'run'}", "stored=true") == 0
    assert "2 of 2 stored trajectories" in capsys.readouterr().out


@pytest.mark.slow
def test_damage_is_found_and_mended_and_orphans_are_removed(run: Store, capsys: pytest.CaptureFixture[str]) -> None:
    before = {info.key: run.get(info.key) for info in run.list(TRAJECTORIES_PREFIX)}
    lost, spoiled = sorted(before)[:2]
    assert run_here("verify", *named(run), "stored=true") == 0
    assert "4 of 4 stored trajectories are what their records say" in capsys.readouterr().out
    run.delete([lost])
    run.put(spoiled, before[spoiled][:-9])
    assert run_here("verify", *named(run), "stored=true") == 1
    said = capsys.readouterr().out
    assert "2 of 4 stored trajectories" in said
    assert lost in said
    assert spoiled in said
    assert run_here("repair", *named(run)) == 0
    assert "2 of 2 damaged trajectories are repaired" in capsys.readouterr().out
    run.put(f"{TRAJECTORIES_PREFIX}00ff.png", b"of an attempt that lost")
    run.put(f"{TRAJECTORIES_PREFIX}notes.txt", b"somebody's own")
    assert run_here("gc", *named(run), "older_than_s=0") == 0
    assert "1 objects" in capsys.readouterr().out
    left = {info.key: run.get(info.key) for info in run.list(TRAJECTORIES_PREFIX)}
    assert left.pop(f"{TRAJECTORIES_PREFIX}notes.txt")
    assert left == before


def forming_on(page: str) -> Any:
    """What the page knows of trajectories."""
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])["forming"]  # type: ignore[index]


@pytest.mark.slow
def test_the_page_shows_them_and_its_command_makes_them(run: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here("report", *named(run)) == 0
    page = run.get("report/index.html").decode()
    assert "How the picture forms" in page
    assert "output.trajectory=true" in page
    forming = forming_on(page)
    assert len(forming["strips"]) == 4
    assert {run.get(f"report/{strip['picture']}")[:4] for strip in forming["strips"]} == {b"RIFF"}
    assert all(run.get(strip["href"].removeprefix("../")) for strip in forming["strips"])
    assert not any(strip["noised"] for strip in forming["strips"])


@pytest.mark.slow
def test_beside_it_an_image_of_the_reference_dissolves_in_noise(run: Store, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (90, 60), "teal").save(photos / f"{name}.png")
    put_evaluation(run, "0" * 16, Evaluation("2026-01-01T00:00:00Z", {}, {}, options={"reference": str(photos)}))
    assert run_here("report", *named(run)) == 0
    forming = forming_on(run.get("report/index.html").decode())
    [noised] = {strip["noised"] for strip in forming["strips"]}
    assert Image.open(io.BytesIO(run.get(f"report/{noised}"))).format == "WEBP"
    rmtree(photos)
    assert run_here("report", *named(run)) == 0
    page = run.get("report/index.html").decode()
    assert not any(strip["noised"] for strip in forming_on(page)["strips"])
    assert "without forward noising: a reference image" in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*DEMO, "output.trajectory=true", "output.trajectory_steps=[1, 5]"), r"step 5 is past the last of .*=4; give"),
        ((*DEMO, "output.trajectory_steps=[1, 2]"), r"trajectory_steps=\[1, 2\] does nothing without"),
        ((*DEMO, "output.trajectory_prompts=2"), "trajectory_prompts=2 does nothing without"),
        ((*DEMO, "output.trajectory=true", "output.trajectory_steps=[2, 2]"), "each once and in order"),
        ((*DEMO, "output.trajectory=true", "output.trajectory_steps=[0]"), "counted from 1"),
        ((*DEMO, "output.trajectory=true", "output.trajectory_steps=[]"), "give 1 to 16 steps"),
        ((*PAINT, "output.trajectory=true"), "darkroom/paint is no diffusion model"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_loaded(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DarkroomError, match=message):
        run_here("generate", *words, *PROMPTS, f"output.uri={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()
