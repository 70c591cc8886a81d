"""Models of every family through the command: mixed rows, two shard sizes, two orders, and verify."""

import csv
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import darkroom
from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import ModelRef
from darkroom.rendering.families import FAMILIES
from darkroom.rendering.family import Family, Guidance
from darkroom.rendering.inspection import inspect_model
from darkroom.runs.certificates import certificates
from darkroom.storage.store import open_store, parse_spec
from tests.jobs.helpers import run_here
from tests.rendering.every_family import MODELS, NEEDS, SIDES
from tests.rendering.tiny_models import tiny_flux
from tests.rendering.tiny_videos import VIDEOS

ROWS = (  # id, prompt, guidance scale, negative prompt; of two widths of text
    ("a", "a red circle", 3, ""),
    ("b", "a large blue square beside a small green triangle", 3, ""),
    ("c", "a red square", 5, "a blue square"),
    ("d", "two circles", 2, "a blue square"),
)

Folder = Callable[[str], Path]

pytestmark = pytest.mark.usefixtures("own_cache")


def columns(family: Family) -> list[str]:
    """That the family takes."""
    guided = ["guidance_scale"] if family.guidance is not Guidance.NONE else []
    return ["prompt_id", "prompt", *guided, *(["negative_prompt"] if family.takes_negative_prompt else [])]


def write_prompts(path: Path, family: Family, backwards: bool) -> None:
    names = columns(family)
    with path.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, names, extrasaction="ignore")
        writer.writeheader()
        for row in ROWS[::-1] if backwards else ROWS:
            writer.writerow(dict(zip(("prompt_id", "prompt", "guidance_scale", "negative_prompt"), row, strict=True)))


def pictures(run: Path) -> dict[str, np.ndarray]:
    """prompt_id -> pixels, of a video all frames."""
    opened = darkroom.open_run(str(run))
    pairs = ((image.info["record"], image) for image in opened.images())
    are_videos = opened.info.output.video
    return {
        record.prompt_id: opened.frames(record.image_id) if are_videos else np.asarray(image) for record, image in pairs
    }


def as_cases() -> Iterator[Any]:
    """Every model; variants of another one's code, those of videos but one, and the one that takes a minute and a half,
    are drills."""
    for name in sorted(MODELS):
        is_variant = any(name.startswith(f"{other}_") for other in MODELS)
        is_seldom = is_variant or name == "hidream" or (name in VIDEOS and name != "wan")
        yield pytest.param(name, marks=pytest.mark.drill if is_seldom else ())


@pytest.mark.slow
@pytest.mark.parametrize("name", as_cases())
def test_images_depend_on_neither_shards_nor_order(tiny_model: Folder, tmp_path: Path, name: str) -> None:
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        pytest.skip(f"needs the optional package {NEEDS[name]}")
    model, side = tiny_model(name), SIDES.get(name, 32)
    given = ("model=diffusers", f"model.repo_id={model}", "prompts=file", "engine=local", "engine.device=cpu")
    given = (*given, f"sampling.height={side}", f"sampling.width={side}", "sampling.num_inference_steps=2")
    family, found = inspect_model(ModelRef(str(model)), "cpu").family, []
    if family.frames_unit:
        given = (*given, f"sampling.num_frames={family.frames_unit + 1}", "output.video_format=zip")
    for place, (shard_size, backwards) in enumerate(((4, False), (1, True))):
        prompts, run = tmp_path / f"{place}.csv", tmp_path / str(place)
        write_prompts(prompts, family, backwards)
        words = (*given, f"prompts.uri={prompts}", f"output.uri={run}", f"engine.shard_size={shard_size}")
        words = (*words, "engine.batch_size=2")
        assert place or run_here("plan", *words) == 0
        assert run_here("generate", *words) == 0
        found.append(pictures(run))
    assert run_here("verify", f"run={tmp_path / '1'}") == 0
    [certificate] = certificates(open_store(parse_spec(str(tmp_path / "1"))))  # which `plan` has made
    assert certificate.failed == ()
    records = pd.read_parquet(tmp_path / "1" / "metadata")
    assert set(records.proved) == {True}
    assert records.sha256.nunique() == len(ROWS)
    for prompt_id, pixels in found[0].items():  # some processors' kernels round a row by its place in the batch
        assert np.abs(pixels.astype(int) - found[1][prompt_id]).max() <= 1, prompt_id


@pytest.mark.slow
def test_every_class_of_the_table_has_a_model(tiny_model: Folder) -> None:
    known = {name for name in MODELS if name not in NEEDS or find_spec(NEEDS[name])}
    made = {inspect_model(ModelRef(str(tiny_model(name))), "cpu").identity.pipeline_class for name in known}
    needing = {"KolorsPipeline", "KolorsPAGPipeline", "Kandinsky5T2IPipeline"}
    assert FAMILIES.keys() - made <= needing


@pytest.mark.slow
def test_a_column_that_a_model_ignores_is_refused(tmp_path: Path) -> None:
    model = tiny_flux(tmp_path / "model")
    (tmp_path / "prompts.csv").write_text("prompt,negative_prompt\na,b\n")
    given = ("model=diffusers", f"model.repo_id={model}", "prompts=file", f"prompts.uri={tmp_path / 'prompts.csv'}")
    given = (*given, "engine=local", "sampling.num_inference_steps=1")
    with pytest.raises(DarkroomError, match=r"takes no negative_prompt; prompts\.columns\.negative_prompt=null"):
        run_here("generate", *given, f"output.uri={tmp_path / 'run'}")
    with pytest.raises(DarkroomError, match=r"takes no guidance_scale; leave it out"):
        run_here("plan", *given, "prompts.columns.negative_prompt=null", "sampling.guidance_scale=4")
