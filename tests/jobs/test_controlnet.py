"""A run whose images a ControlNet shapes: rows of all kinds, killed and resumed, verified, and shown in the report."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import darkroom
from darkroom.api.verification import verify
from darkroom.domain.errors import DarkroomError
from darkroom.engine.tasks import ShardDone
from darkroom.reporting.edits import edits
from darkroom.runs.encoding import pixels_digest
from darkroom.runs.reading import records
from tests.rendering.tiny_models import tiny_controlnet, tiny_sd

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_cache")]
ROWS: list[dict[str, Any]] = [
    {"prompt": "a red circle", "control_image": "0.png"},
    {"prompt": "two", "control_image": "1.png", "controlnet_conditioning_scale": 0.5},
    {"prompt": "from noise alone", "control_image": None},
    {"prompt": "no such picture", "control_image": "none.png"},
    {"prompt": "a blue square", "control_image": "2.png", "image": "0.png", "strength": 0.5},
    {"prompt": "in a mask", "control_image": "2.png", "image": "0.png", "mask_image": "mask.png", "strength": 0.9},
    {"prompt": "of other sizes", "control_image": "tall.png", "image": "0.png"},
]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("controlled")
    drawn = np.random.default_rng(0)
    for name, size in (("0", (16, 24)), ("1", (16, 16)), ("2", (16, 24)), ("tall", (24, 16))):
        Image.fromarray(drawn.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    mask = np.zeros((16, 24), np.uint8)
    mask[:, 9:] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    model = tiny_sd(folder / "model")
    pd.DataFrame(ROWS).to_json(folder / "rows.jsonl", orient="records", lines=True)
    return {
        "prompts": folder / "rows.jsonl",
        "model": model,
        "controlnet": str(tiny_controlnet(folder / "net", model)),
        "num_inference_steps": 4,
        "guidance_scale": 3.0,
        "engine": {"kind": "local", "batch_size": 2, "shard_size": 2, "device": "cpu"},
    }


@pytest.fixture(scope="module")
def run(asked: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> darkroom.Run:
    return darkroom.generate(**asked, out=tmp_path_factory.mktemp("runs") / "run")


def frame(run: darkroom.Run) -> pd.DataFrame:
    return run.records.sort_values("row").reset_index(drop=True)


def test_rows_of_all_kinds_are_rendered_and_recorded(run: darkroom.Run, asked: dict[str, Any]) -> None:
    found, folder = frame(run), asked["prompts"].parent
    assert found["status"].tolist() == ["ok", "ok", "ok", "failed", "ok", "ok", "failed"]
    for row, name in ((0, "0"), (1, "1"), (4, "2"), (5, "2")):
        assert found.loc[row, "control_image_sha256"] == pixels_digest(np.asarray(Image.open(folder / f"{name}.png")))
    assert found["control_image_sha256"].notna().tolist() == [True, True, False, False, True, True, False]
    assert found.loc[3, "error"].startswith("control_image=none.png: no such file in ")
    assert found.loc[6, "error"] == (
        "control_image=tall.png: it has 16x24 pixels and its image 24x16; give one of that size"
    )
    assert found["model_parts"].str.contains('"kind": "controlnet", "name": "net"').all()
    assert found.loc[[0, 1], "width"].tolist() == [24, 16]


def test_it_is_killed_and_resumed_and_verified(run: darkroom.Run, asked: dict[str, Any], tmp_path: Path) -> None:
    def die(event: object) -> None:
        if isinstance(event, ShardDone):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        darkroom.generate(**asked, out=tmp_path / "run", progress=die)
    assert len(list((tmp_path / "run" / "metadata").rglob("*.parquet"))) < 4
    resumed = darkroom.generate(**asked, out=tmp_path / "run")
    names = ["image_id", "sha256", "control_image_sha256", "image_sha256"]
    assert frame(resumed)[names].equals(frame(run)[names])
    assert verify(resumed, print).num_equal == 5


def test_the_report_shows_control_pictures(run: darkroom.Run) -> None:
    shown = {each.prompt: each for each in edits(run.store, run.info, list(_stored(run))).shown}
    assert shown["two"].names == ("control", "image")
    assert shown["two"].difference is None
    assert shown["in a mask"].names == ("picture", "mask", "control", "image")
    assert shown["in a mask"].difference_kept == 0


def _stored(run: darkroom.Run) -> Iterator[Any]:
    return (each for each in records(run.store) if each.status == "ok")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"controlnet": None}, "control_image: model has no ControlNet; give controlnet="),
        ({"columns": {"control_image": None, "controlnet_conditioning_scale": None}}, "no image has a picture for it"),
        ({"control_guidance_start": 0.6, "control_guidance_end": 0.5}, "start=0.6 is not before control_guidance_end"),
        ({"controlnet_conditioning_scale": 0.3}, "row 2: controlnet_conditioning_scale=0.3 and no control_image that"),
        ({"freeu_s1": 0.9}, "freeu_s1=0.9: it is of steps"),
        ({"trajectory": True}, "trajectory=True: of images that are made from pictures"),
        ({"engine": {"kind": "local", "backend": "openvino"}}, "a UNet with controlnet is torch's"),
    ],
)
def test_what_cannot_be_is_refused(asked: dict[str, Any], change: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(DarkroomError, match=words):
        darkroom.generate(**{**asked, **change}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
