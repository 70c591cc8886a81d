"""Several runs as one dataset, copies left out, images encoded anew, shards on Ray, and what a killed export left."""

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from darkroom.api.export_checks import run_names
from darkroom.api.run import Run
from darkroom.domain.errors import DarkroomError
from darkroom.engine import cluster
from darkroom.runs.features import ImageFeatures, ShardFeatures, put_features
from darkroom.runs.manifest import committed as committed_shards
from darkroom.runs.manifest import read
from darkroom.storage.disk import synced
from tests.exporting.runs import HESSEL, PROMPTS, check_sums, committed, files, header, rows
from tests.jobs.helpers import named, run_here
from tests.reporting.runs import EXTRACTOR_ID, cell, evaluate, rendered, score

TWO, FIVE = cell(guidance_scale=2.0), cell(guidance_scale=5.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return committed(tmp_path_factory.mktemp("run") / "run")


def made(folder: Path, prompts: Sequence[str], *cells: Any, **columns: Sequence[Any]) -> Run:
    store, info, by_id = rendered(folder, prompts, cells or (TWO,), **columns)
    return Run(store, info, by_id)


# Several runs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["parquet", "webdataset", "imagefolder"])
def test_several_runs_are_one_dataset_with_all_columns_and_the_names_of_runs(layout: str, tmp_path: Path) -> None:
    first = made(tmp_path / "first", PROMPTS[:6], TWO, lang=["de", "en", "fr"] * 2, score=[1, 2, 3] * 2)
    other = made(tmp_path / "other", PROMPTS[4:12], FIVE, score=[0.5] * 8, tags=[["a"]] * 8)
    found = first.export(tmp_path / "set", others=[other.uri], layout=layout, shard_size=5)
    table = rows(tmp_path / "set")
    assert (found.num_images, len(table), table.image_id.nunique()) == (14, 14, 14)
    assert table.groupby("run").size().to_dict() == {"first": 6, "other": 8}
    by_run = dict(iter(table.groupby("run")))
    assert list(by_run["first"].lang) == ["de", "en", "fr"] * 2
    assert by_run["other"].lang.isna().all()
    assert [*by_run["first"].score, *by_run["other"].score] == [1.0, 2.0, 3.0] * 2 + [0.5] * 8
    assert [list(tags) for tags in by_run["other"].tags] == [["a"]] * 8
    assert set(table.sha256) == {*first.records.sha256, *other.records.sha256}
    text = (tmp_path / "set" / "README.md").read_text()
    for words in ("| first | ", "| other | ", "others=[runs/other]", first.info.prompts.fingerprint,
                  other.info.prompts.fingerprint):  # fmt: skip
        assert words in text, words
    assert str(tmp_path) not in text
    check_sums(tmp_path / "set")
    before = files(tmp_path / "set")
    first.export(tmp_path / "set", others=[other.uri], layout=layout, shard_size=5)
    assert files(tmp_path / "set") == before


def test_an_image_that_two_runs_have_is_refused_or_kept_once(tmp_path: Path) -> None:
    first, other = made(tmp_path / "a" / "run", PROMPTS[:6]), made(tmp_path / "b" / "run", PROMPTS[4:9], TWO, FIVE)
    with pytest.raises(DarkroomError, match=r"image \w+ is in a/run and in b/run, .*; dedup=pixels keeps the first"):
        first.export(tmp_path / "set", others=[other.uri])
    assert not (tmp_path / "set").exists()
    found = first.export(tmp_path / "set", others=[other.uri], dedup="pixels")
    left = pd.read_parquet(tmp_path / "set" / "duplicates.parquet")
    assert list(left.why) == ["id", "id"] + ["pixels"] * (len(left) - 2)
    assert list(left.run) == ["b/run"] * len(left)
    assert list(left.copy_of_run)[:2] == ["a/run"] * 2
    assert found.num_images == 6 + 10 - len(left)
    assert "2 images are in an earlier run by the same id" in (tmp_path / "set" / "README.md").read_text()
    by_prompt = {prompt: np.eye(9)[place] for place, prompt in enumerate(PROMPTS[:9])}
    for each in (first, other):
        featured(each, by_prompt)
    near = first.export(tmp_path / "near", others=[other.uri], dedup="embedding", layout="webdataset")
    assert (near.num_images, near.counts.copies) == (9, {"id": 2, "embedding": 5})
    assert rows(tmp_path / "near").image_id.nunique() == 9
    one_cell = f"{other.uri}#{FIVE.cell.cell_id}"
    assert first.export(tmp_path / "one", others=[one_cell]).num_images == 11
    commands = (tmp_path / "one" / "README.md").read_text().partition("## Make it again")[2]
    for words in ("output.uri=runs/a/run ", "output.uri=runs/b/run ", "export run=runs/a/run ",
                  f"others=[runs/b/run#{FIVE.cell.cell_id}]"):  # fmt: skip
        assert words in commands.replace("'", "").replace('"', ""), words


def test_runs_that_do_not_go_together_are_refused(run: Run, tmp_path: Path) -> None:
    texts = made(tmp_path / "texts", PROMPTS[:4], FIVE, lang=[1, 2, 3, 4])
    with pytest.raises(DarkroomError, match=r"run texts: column 'lang' is int64, but string"):
        run.export(tmp_path / "set", others=[texts.uri])
    with pytest.raises(DarkroomError, match=r"others: .*does not exist"):
        run.export(tmp_path / "set", others=[str(tmp_path / "none")])
    with pytest.raises(DarkroomError, match=r"scores: .*no score of single images is stored with the run"):
        run.export(tmp_path / "set", others=[texts.uri], scores=["demo_clip.clip_score"])
    with pytest.raises(DarkroomError, match=r"the run .* lies in it"):
        run.export(tmp_path, others=[texts.uri])
    assert not (tmp_path / "set").exists()


def test_scores_and_features_of_other_definitions_are_refused(tmp_path: Path) -> None:
    first, other = made(tmp_path / "first", PROMPTS[:4]), made(tmp_path / "other", PROMPTS[4:8], FIVE)
    for run, convention in ((first, HESSEL), (other, replace(HESSEL, convention="x100: 100 cos"))):
        score(run.store)
        evaluate(run.store, run.cells, convention)
    asked = {"scores": ["demo_clip.clip_score"]}, {"where": "demo_clip.clip_score > 0.2"}
    for options in asked:
        said = rf"{next(iter(options))}: demo_clip.clip_score is of another .* convention in other than in first"
        with pytest.raises(DarkroomError, match=said):
            first.export(tmp_path / "set", others=[other.uri], **options)
    evaluate(other.store, other.cells, replace(HESSEL, extractor_id="f" * 16), at="2026-01-02")
    with pytest.raises(DarkroomError, match="features of other are by another extractor than those of first"):
        first.export(tmp_path / "set", others=[other.uri], dedup="embedding")
    assert not (tmp_path / "set").exists()


def test_names_of_runs_are_as_long_as_tells_them_apart() -> None:
    assert run_names(["/a/runs/x", "s3://b/y/"]) == ["x", "y"]
    assert run_names(["/a/x", "/b/x", "/b/y"]) == ["a/x", "b/x", "b/y"]
    assert run_names(["/a/x", "/a/x"]) == ["x (1)", "x (2)"]


def test_the_job_merges(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    other = made(tmp_path / "other", PROMPTS[:4], cell(guidance_scale=7.0), lang=["de"] * 4)
    place = f"to={tmp_path / 'set'}"
    assert run_here("merge", *named(run.store), f"others=[{other.uri}]", place, "dedup=pixels") == 0
    assert "that are copies by pixels, listed in duplicates.parquet" in capsys.readouterr().out
    with pytest.raises(DarkroomError, match=r"others=\[\] names no other run"):
        run_here("merge", *named(run.store), place)


# Copies --------------------------------------------------------------------------------------------------------------


def featured(run: Run, vectors: Mapping[str, Sequence[float]]) -> None:
    """Features of every image, by its prompt."""
    for shard in committed_shards(run.store):
        table = read(run.store, shard).to_pylist()
        features = np.array([vectors[row["prompt"]] for row in table], np.float32)
        ids, nothing = tuple(row["image_id"] for row in table), np.zeros(len(table), np.float32)
        images = ImageFeatures(ids, features, nothing, np.zeros(len(table), bool))
        digests = tuple(row["sha256"] for row in table)
        put_features(run.store, EXTRACTOR_ID, shard, ShardFeatures(images, digests, ("",) * len(table)))
    evaluate(run.store, run.cells, HESSEL)


def test_images_that_are_near_are_left_out_by_the_first_that_is_kept(tmp_path: Path) -> None:
    run = made(tmp_path / "run", PROMPTS[:8])
    degrees = [0, 10, 25, 90, 95, 100, 180, 0]  # 18 degrees are a cosine of 0.95
    vectors = {prompt: [5 * np.cos(np.radians(at)), 5 * np.sin(np.radians(at))]
               for prompt, at in zip(PROMPTS, degrees, strict=False)}  # fmt: skip
    featured(run, vectors)
    found = run.export(tmp_path / "set", dedup="embedding")
    names = {row.image_id: PROMPTS.index(row.prompt) for row in run.records.itertuples()}
    left = pd.read_parquet(tmp_path / "set" / "duplicates.parquet")
    pairs = {names[row.image_id]: names[row.copy_of] for row in left.itertuples()}
    assert pairs == {1: 0, 4: 3, 5: 3, 7: 0}
    assert dict(zip(left.image_id.map(names), left.cosine, strict=True)) == pytest.approx(
        {1: np.cos(np.radians(10)), 4: np.cos(np.radians(5)), 5: np.cos(np.radians(10)), 7: 1.0}, abs=1e-6
    )
    assert {names[image_id] for image_id in rows(tmp_path / "set").image_id} == {0, 2, 3, 6}
    assert found.counts.copies == {"embedding": 4}
    assert (
        "4 images are near copies of earlier ones, with a cosine of 0.95 or more"
        in (tmp_path / "set" / "README.md").read_text()
    )
    assert run.export(tmp_path / "near", dedup="embedding", cosine=0.999).num_images == 7
    featured(run, {**vectors, PROMPTS[7]: [0.0, 0.0]})
    told: list[Any] = []
    assert run.export(tmp_path / "unknown", dedup="embedding", progress=told.append).num_images == 5
    assert "1 images have no features: they count as copies of none, and are kept" in told[0].text


def test_what_cannot_be_compared_is_refused(run: Run, tmp_path: Path) -> None:
    for options, said in (
        ({"dedup": "embedding", "extractor": "dino"}, "extractor: no extractor of the run 'dino'"),
        ({"dedup": "pixels", "cosine": 0.9}, "cosine=0.9 is of dedup=embedding"),
        ({"extractor": "clip"}, "extractor=clip is of dedup=embedding"),
        ({"dedup": "all"}, "dedup=all: no such choice"),
        ({"quality": 80}, "quality=80 is of images that are encoded anew"),
        ({"quality": 80, "image_format": "png"}, "quality=80 is of webp and jpeg"),
    ):
        with pytest.raises(DarkroomError, match=said):
            run.export(tmp_path / "set", **options)
    plain = made(tmp_path / "plain", PROMPTS[:4])
    with pytest.raises(DarkroomError, match="dedup=embedding: plain has no features; evaluate it first"):
        plain.export(tmp_path / "set", dedup="embedding")


# Encoded anew --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["parquet", "webdataset", "imagefolder"])
def test_images_are_encoded_anew_and_say_what_they_are(run: Run, layout: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"layout": layout, "image_format": "webp", "quality": 80, "size": 8, "shard_size": 20}
    run = Run(run.store, replace(run.info, output=replace(run.info.output, provenance=True)), run.cells)
    run.export(tmp_path / "a" / "set", **options)
    there = files(tmp_path / "a" / "set")
    table = rows(tmp_path / "a" / "set")
    with Image.open(io.BytesIO(table.data[0])) as image:
        assert (image.format, image.size) == ("WEBP", (8, 8))
        assert b"Steps: 20" in image.getexif().get_ifd(0x8769)[0x9286].replace(b"\0", b"")
    check_facts(table)
    assert set(table.image_id) == set(run.records.image_id)
    check_sums(tmp_path / "a" / "set")
    run.export(tmp_path / "a" / "set", **options)
    assert files(tmp_path / "a" / "set") == there
    lost = next(path for path in (tmp_path / "a" / "set").rglob("*") if path.suffix in (".webp", ".tar", ".parquet"))
    lost.unlink()
    run.export(tmp_path / "a" / "set", **options)
    assert files(tmp_path / "a" / "set") == there
    assert "of quality 80, made smaller to 8 pixels" in there["README.md"].decode()


def check_facts(table: pd.DataFrame) -> None:
    for row in table.itertuples():
        assert hashlib.sha256(row.data).hexdigest() == row.sha256
        assert (len(row.data), row.height, row.width) == (row.bytes, 8, 8)


def test_files_that_are_so_already_stay_as_they_are(run: Run, tmp_path: Path) -> None:
    run.export(tmp_path / "set", image_format="png", shard_size=20)
    assert set(rows(tmp_path / "set").sha256) == set(run.records.sha256)
    assert "encoded anew as" not in (tmp_path / "set" / "README.md").read_text()


# The card's types ----------------------------------------------------------------------------------------------------


def test_the_card_tells_the_types_of_columns_that_are_empty_at_first(tmp_path: Path) -> None:
    late = {"lang": [None] * 7 + ["de"], "meta": [None] * 7 + [{"a": 1, "b": ["x"]}], "size": [1] * 8}
    run = made(tmp_path / "run", PROMPTS[:8], **late)
    for layout in ("parquet", "webdataset", "imagefolder"):
        run.export(tmp_path / layout, layout=layout)
        said: Any = header((tmp_path / layout / "README.md").read_text())
        features = said["dataset_info"]["features"]
        if layout == "webdataset":
            assert [each["name"] for each in features] == ["png", "txt", "json", "__key__", "__url__"]
            features = features[2]["struct"]
        if layout == "imagefolder":
            assert said["configs"][0]["features"] == features
        kinds = {each.pop("name"): each for each in features}
        assert kinds["lang"] == {"dtype": "string"}
        assert kinds["size"] == {"dtype": "int64"}
        assert kinds["created_at"] == {"dtype": "string" if layout == "webdataset" else "timestamp[us, tz=UTC]"}
        assert kinds["meta"] == {
            "struct": [{"name": "a", "dtype": "int64"}, {"name": "b", "list": "string"}],
        }
    schema = pq.read_schema(next((tmp_path / "parquet" / "data").iterdir()))
    assert str(schema.field("created_at").type) == "timestamp[us, tz=UTC]"


def test_croissant_names_every_shard_with_its_digest_and_every_column(run: Run, tmp_path: Path) -> None:
    for layout in ("parquet", "webdataset", "imagefolder"):
        run.export(tmp_path / layout, layout=layout, shard_size=20, license="cc-by-4.0")
        said = json.loads((tmp_path / layout / "croissant.json").read_text())
        sums = dict(reversed(line.split("  ")) for line in (tmp_path / layout / "SHA256SUMS").read_text().splitlines())
        objects = [each for each in said["distribution"] if each["@type"] == "cr:FileObject"]
        assert len(objects) == 2
        assert all(each["sha256"] == sums[each["contentUrl"]] for each in objects)
        assert (said["license"], said["name"]) == ("cc-by-4.0", layout)
        [records] = [each for each in said["recordSet"] if each["name"] == "images"]
        names = [each["name"] for each in records["field"]]
        assert {"text", "prompt_id", "seed", "lang", "source_text"} <= {*names}
        ids = [each["@id"] for each in [*said["distribution"], *records["field"]]]
        assert len({*ids}) == len(ids)


# Elsewhere, and cut off ----------------------------------------------------------------------------------------------


@pytest.fixture
def ray() -> Iterator[None]:
    cluster.start(None, num_workers=2)
    yield
    cluster.stop()


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_workers_on_ray_write_the_same_bytes_and_name_a_damaged_image(run: Run, tmp_path: Path) -> None:
    options: dict[str, Any] = {"layout": "webdataset", "shard_size": 5, "splits": {"train": 0.7, "validation": 0.3}}
    engine = {"kind": "ray", "num_workers": 2}
    found = run.export(tmp_path / "ray" / "set", engine=engine, **options)
    run.export(tmp_path / "here" / "set", **options)
    assert files(tmp_path / "ray" / "set") == files(tmp_path / "here" / "set")
    assert found.num_shards == 8
    own = committed(tmp_path / "own")
    record = own.records.iloc[3]
    (tmp_path / "own" / record.key).write_bytes(b"x")
    with pytest.raises(DarkroomError, match=rf"image {record.image_id} .*not what was committed; .*repair run="):
        own.export(tmp_path / "set", engine=engine, **options)


def test_what_a_killed_export_was_writing_is_removed_and_what_another_writes_is_not(run: Run, tmp_path: Path) -> None:
    left, held = (tmp_path / "set" / "data" / f".tmp-{name}" for name in ("left", "held"))
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    with synced(held, b"whole"):
        for path in (left, held):
            os.utime(path, (0, 0))
        run.export(tmp_path / "set")
        assert not left.exists()
        assert held.exists()
    run.export(tmp_path / "set")
    assert not held.exists()
    check_sums(tmp_path / "set")
