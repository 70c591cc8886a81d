"""Runs whose images are made from pictures, by the painter: read, recorded, and held to what they were."""

import tarfile
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import darkroom
from darkroom.api.arguments import prompts_of
from darkroom.api.maintenance import retry
from darkroom.api.options import EngineOptions
from darkroom.api.verification import repair, verify
from darkroom.domain.errors import DarkroomError
from darkroom.prompts.writing import write_prompts
from darkroom.runs.encoding import decode, pixels_digest
from darkroom.storage.store import open_store, parse_spec

WIDE, TALL = (16, 24), (24, 16)  # height, width


def picture(path: Path, size: tuple[int, int], seed: int) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompts beside their pictures, of which some cannot be used."""
    folder = tmp_path_factory.mktemp("edits")
    for number, size in enumerate([WIDE, TALL, WIDE, WIDE]):
        picture(folder / "pictures" / f"{number} é.png", size, number)
    mask = np.zeros(WIDE, np.uint8)
    mask[:, :7] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    (folder / "pictures" / "broken.png").write_bytes(b"no picture")
    rows = [
        {"prompt": "a", "image": "pictures/0 é.png"},
        {"prompt": "b", "image": "pictures/1 é.png"},
        {"prompt": "c", "image": "pictures/2 é.png", "mask_image": "mask.png"},
        {"prompt": "d", "image": "pictures/missing.png"},
        {"prompt": "e", "image": "pictures/broken.png"},
        {"prompt": "f", "image": "pictures/1 é.png", "mask_image": "mask.png"},
        {"prompt": "g", "image": None},
        {"prompt": "h", "image": str(folder / "pictures" / "3 é.png")},
    ]
    pd.DataFrame(rows).to_parquet(folder / "prompts.parquet")
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> darkroom.Run:
    return darkroom.generate(
        folder / "prompts.parquet", model="paint", out=folder / "run", num_images_per_prompt=2,
        engine={"kind": "local", "batch_size": 3},
    )  # fmt: skip


def frame(run: darkroom.Run) -> pd.DataFrame:
    return pd.read_parquet(Path(run.store.spec.uri) / "metadata").sort_values(["row", "sample_index"])


def pixels(run: darkroom.Run, key: str) -> np.ndarray:
    return decode(run.store.get(key))


def test_images_have_their_pictures_sizes_and_records_say_what_these_were(folder: Path, run: darkroom.Run) -> None:
    found = frame(run).groupby("row").first()
    assert found["status"].tolist() == ["ok", "ok", "ok", "failed", "failed", "failed", "ok", "ok"]
    assert found["image"].tolist()[:2] == ["pictures/0 é.png", "pictures/1 é.png"]
    assert [tuple(each) for each in found.loc[[0, 1, 6], ["height", "width"]].to_numpy()] == [WIDE, TALL, (64, 64)]
    for row, number in ((0, 0), (1, 1), (7, 3)):
        own = np.asarray(Image.open(folder / "pictures" / f"{number} é.png"))
        assert found.loc[row, "image_sha256"] == pixels_digest(own)
        assert pixels(run, found.loc[row, "key"]).shape == own.shape
    assert found["mask_image_sha256"].notna().tolist() == [False, False, True, False, False, False, False, False]
    assert pd.isna(found.loc[6, "image_sha256"])


def test_a_mask_keeps_pixels(folder: Path, run: darkroom.Run) -> None:
    own = np.asarray(Image.open(folder / "pictures" / "2 é.png"))
    for key in frame(run).query("row == 2")["key"]:
        made = pixels(run, key)
        assert np.array_equal(made[:, 7:], own[:, 7:])
        assert not np.array_equal(made, own)


def test_what_cannot_be_used_is_one_row_with_its_reason(run: darkroom.Run) -> None:
    reasons = frame(run).groupby("row").first()["error"]
    assert reasons[3].startswith("image=pictures/missing.png: no such file in ")
    assert reasons[4].startswith("image=pictures/broken.png: not readable as an image")
    assert reasons[5] == ("mask_image=mask.png: it has 24x16 pixels and its image 16x24; give one of that size")


def test_a_run_goes_on_and_is_verified_by_what_its_pictures_were(folder: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path / name, WIDE, 1)
    rows = [{"prompt_id": name, "prompt": "x", "image": f"{name}.png"} for name in ("a", "b", "c")]
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
    run = darkroom.generate(tmp_path / "rows.csv", model="paint", out=tmp_path / "run")
    assert frame(run)["status"].tolist() == ["ok", "ok", "failed"]
    assert verify(run, print).num_equal == 2

    picture(tmp_path / "c.png", WIDE, 3)  # what was missing comes, and another changes
    mended = retry(run, EngineOptions(), print)
    assert mended.by_status == {"ok": 3}
    picture(tmp_path / "b.png", WIDE, 4)
    said: list[object] = []
    found = verify(run, said.append)
    assert (found.num_images, found.num_equal) == (3, 2)
    assert any("image=b.png: it is another picture now (recorded " in str(each) for each in said)

    [victim] = frame(run).query("prompt_id == 'a'")["key"]
    before = run.store.get(victim)
    run.store.put(victim, b"damaged")
    repaired = repair(run, print)
    assert (repaired.num_damaged, repaired.num_left) == (1, 0)
    assert run.store.get(victim) == before


@pytest.fixture(scope="module")
def bucket(s3_endpoint: str) -> str:
    return f"s3://bucket/{uuid.uuid4().hex}"


def test_pictures_of_a_bucket(bucket: str, s3_endpoint: str, tmp_path: Path) -> None:
    store = open_store(parse_spec(bucket, s3_endpoint))
    own = picture(tmp_path / "a.png", WIDE, 5)
    store.put("pictures/a.png", (tmp_path / "a.png").read_bytes())
    wrong = ["none.png", "../../../a.png", f"{bucket}//a.png", f"{bucket}/é ?#%20.png", "s3://no-such-bucket/a.png",
             "s3://", "https://a/b.png", "a\n.png"]  # fmt: skip
    rows = [{"prompt": "x", "image": each} for each in ("a.png", f"{bucket}/pictures/a.png", *wrong)]
    settings = {"model": "paint", "endpoint_url": s3_endpoint, "images_uri": f"{bucket}/pictures", "seed": 1}
    run = darkroom.generate(rows, out=f"{bucket}/run", **settings)
    found = run.records.sort_values("row")
    assert found["image_sha256"].fillna("").tolist() == [pixels_digest(own)] * 2 + [""] * len(wrong)
    errors = found["error"].tolist()[2:]
    assert errors[0] == f"image=none.png: no such object at {bucket}/pictures/none.png"
    assert errors[-2] == "image=https://a/b.png: https:// is not read from; copy it to a folder or to s3://"
    assert all(each.startswith(f"image={name}") for name, each in zip(wrong, errors, strict=True))
    assert verify(run, print).num_equal == 2


def test_pictures_in_a_tar(folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "shard-0.tar", "w") as tar:
        tar.add(folder / "pictures" / "0 é.png", "a/0.png")
        tar.add(folder / "mask.png", "mask.png")
    (tmp_path / "broken.tar").write_bytes(b"x" * 600)
    names = ["shard-0.tar#a/0.png", "shard-0.tar#none.png", "broken.tar#a.png", "no.tar#a.png"]
    rows = [{"prompt": "x", "image": name, "mask_image": "shard-0.tar#mask.png"} for name in names]
    run = darkroom.generate(rows, model="paint", out=tmp_path / "run", images_uri=tmp_path)
    found = frame(run)
    assert found["image_sha256"].tolist()[0] == pixels_digest(np.asarray(Image.open(folder / "pictures" / "0 é.png")))
    assert found["error"].tolist()[1:] == [
        "image=shard-0.tar#none.png: the tar has no such file",
        "image=broken.tar#a.png: broken.tar is not readable as a tar (invalid header)",
        f"image=no.tar#a.png: no such file in {tmp_path}",
    ]
    with tarfile.open(tmp_path / "shard-0.tar", "w") as tar:
        tar.add(folder / "pictures" / "2 é.png", "a/0.png")
        tar.add(folder / "mask.png", "mask.png")
    assert verify(run, print).num_equal == 0


def test_an_axis_of_pictures_and_of_strengths(folder: Path, tmp_path: Path) -> None:
    axes = {"image": ["0 é.png", "2 é.png"], "strength": [0.5, 1.0]}
    run = darkroom.sweep(["x", "y"], axes=axes, model="paint", out=tmp_path / "run", images_uri=folder / "pictures")
    found = frame(run)
    assert len(found) == 8
    assert found.groupby("image")["image_sha256"].nunique().tolist() == [1, 1]
    assert found["image_sha256"].nunique() == 2


def test_files_that_rows_hold_are_kept_in_the_run(folder: Path, tmp_path: Path) -> None:
    files = [(folder / "pictures" / f"{number} é.png").read_bytes() for number in (0, 1)]
    pairs = [{"bytes": files[0], "path": "x.png"}, {"bytes": None, "path": str(folder / "pictures" / "2 é.png")}, None]
    masks = [(folder / "mask.png").read_bytes(), None, None]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"prompt": ["a", "b", "c"], "image": pa.array(pairs, kind), "mask_image": masks})
    pq.write_table(table, tmp_path / "rows.parquet")
    run = darkroom.generate(tmp_path / "rows.parquet", model="paint", out=tmp_path / "run")
    (tmp_path / "rows.parquet").unlink()
    found = frame(run)
    assert found["status"].tolist() == ["ok"] * 3
    assert found["image_sha256"].notna().tolist() == [True, True, False]
    assert len(list((tmp_path / "run" / "inputs").iterdir())) == 2
    assert verify(run, print).num_equal == 3
    of_memory = darkroom.generate(table.to_pandas(), model="paint", out=tmp_path / "other")
    assert frame(of_memory)[["prompt_id", "image_id", "sha256"]].equals(found[["prompt_id", "image_id", "sha256"]])
    kept = next((tmp_path / "run" / "inputs").iterdir())
    kept.write_bytes(b"other")
    said: list[object] = []
    assert verify(run, said.append).num_equal == 2
    assert any("its file in the run's inputs/ is damaged" in str(each) for each in said)


def test_prompts_with_pictures_are_written_as_they_read(folder: Path, tmp_path: Path) -> None:
    files = [(folder / "pictures" / f"{number} é.png").read_bytes() for number in (0, 1)]
    first = prompts_of(pd.DataFrame({"prompt": ["a", "b"], "image": files, "strength": [0.5, None]})).dataset
    write_prompts(first, str(tmp_path / "prompts.parquet"))
    again = prompts_of(tmp_path / "prompts.parquet").dataset
    assert [row for block in again.blocks() for row in block.rows] == [
        row for block in first.blocks() for row in block.rows
    ]
    with pytest.raises(DarkroomError, match="image is files, which JSON lines do not hold"):
        write_prompts(first, str(tmp_path / "prompts.jsonl"))


def test_control_pictures_are_read_and_recorded(folder: Path, tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "control_image": "1 é.png"},
        {"prompt": "b", "control_image": "0 é.png", "image": "2 é.png"},
        {"prompt": "c", "control_image": "1 é.png", "image": "2 é.png"},
        {"prompt": "d"},
    ]
    place = {"model": "paint", "images_uri": folder / "pictures"}
    run = darkroom.generate(rows, out=tmp_path / "run", **place)
    found = frame(run)
    assert found["control_image_sha256"].notna().tolist() == [True, True, False, False]
    assert [tuple(each) for each in found[["height", "width"]].to_numpy()[:2]] == [TALL, WIDE]
    assert found["error"].tolist()[2] == (
        "control_image=1 é.png: it has 16x24 pixels and its image 24x16; give one of that size"
    )
    assert verify(run, print).num_equal == 3
    axes = {"control_image": ["0 é.png", "2 é.png"], "controlnet_conditioning_scale": [0.5, 1.0]}
    sized = {"image_resize": "crop", "height": 8, "width": 8}
    swept = frame(darkroom.sweep(["x"], axes=axes, out=tmp_path / "sweep", **place, **sized))
    assert swept["cell_id"].nunique() == 4
    assert swept["pixels_sha256"].nunique() == 2, "the painter looks at pictures alone"
    assert set(swept["height"]) == {8}


IMAGE = {"prompt": "x", "image": "a.png"}


@pytest.mark.parametrize(
    ("rows", "settings", "words"),
    [
        ([{"prompt": "x", "mask_image": "a.png"}], {}, "column mask_image: there is no picture that it is of"),
        (["x"], {"strength": 0.5}, "strength=0.5: there is no picture"),
        ([IMAGE], {"control_guidance_end": 0.5}, "control_guidance_end=0.5: there is no .*; give control_image too"),
        (
            [{"prompt": "x", "control_image": "a.png"}],
            {"model": "demo"},
            "control_image: darkroom/demo has no ControlNet",
        ),
        (
            [{"prompt": "x", "control_image": "a.png"}],
            {"strength": 0.5},
            "strength=0.5: there is no .*; give image too",
        ),
        ([IMAGE, {"prompt": "y", "strength": 0.5}], {}, "row 1: strength=0.5 and no image that it is of"),
        ([IMAGE], {"strength": 1.5}, "strength=1.5 is out of range"),
        (
            [IMAGE],
            {"height": 64},
            "height: images that are made from pictures have the size of these; give image_resize=scale",
        ),
        ([{**IMAGE, "width": 64}], {}, "width: images that are made from pictures have the size"),
        ([IMAGE], {"images_uri": "https://a/b"}, "images_uri=https://a/b: give a folder, or an s3:// address"),
        ([IMAGE], {"model": "demo", "strength": 0.01}, "strength=0.01 of num_inference_steps=.* leaves no step"),
        ([{**IMAGE, "strength": 0.0}], {"model": "demo"}, "row 0: strength=0 of num_inference_steps=.* leaves no step"),
        ([IMAGE], {"model": "demo", "cache_interval": 3}, "cache_interval=3: it is of steps that begin at noise"),
        (
            [IMAGE],
            {"model": "demo", "guidance_rescale": 0.5},
            "guidance_rescale: StableDiffusionImg2ImgPipeline, which",
        ),
        ([IMAGE], {"model": "demo", "trajectory": True}, "trajectory=True: of images that are made from pictures"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_loaded(rows, settings, words: str, tmp_path: Path) -> None:
    with pytest.raises(DarkroomError, match=words):
        darkroom.generate(rows, **{"model": "paint", "out": tmp_path / "run", **settings})
    assert not (tmp_path / "run").exists()
