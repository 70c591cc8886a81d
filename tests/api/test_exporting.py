"""A run handed over as a dataset: what is in it, in every layout; what is refused; and that it can be cut off."""

import hashlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import darkroom
from darkroom.api.events import Noted
from darkroom.api.run import Run
from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.figures import put_evaluation, read_evaluations
from darkroom.exporting.writing import ShardWritten, claim
from darkroom.jobs.cli import composed
from darkroom.runs.cells import Dropped, put_choices
from darkroom.storage.store import Store, open_store, parse_spec
from tests.exporting.runs import check_sums, committed, files, header, rows
from tests.jobs.helpers import named, run_here

LAYOUTS = ("parquet", "webdataset", "imagefolder")
SPLITS = {"train": 0.7, "validation": 0.3}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return committed(tmp_path_factory.mktemp("run") / "run")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_image_is_there_once_with_its_prompt_settings_and_own_columns(
    run: Run, layout: str, tmp_path: Path
) -> None:
    found = run.export(tmp_path / "set", layout=layout, splits=SPLITS, shard_size=7, scores=["demo_clip.clip_score"])
    table, records = rows(tmp_path / "set").set_index("image_id"), run.records.set_index("image_id")
    assert (len(table), found.num_images, sum(found.splits.values())) == (36, 36, 36)
    assert set(table.index) == set(records.index)
    records = records.loc[table.index]
    for name in ("prompt_id", "guidance_scale", "cell_id", "sha256", "seed", "lang", "model_revision"):
        assert table[name].tolist() == records[name].tolist(), name
    assert table["text"].tolist() == records["prompt"].tolist()
    assert table["source_text"].tolist() == records["text"].tolist()
    assert [hashlib.sha256(data).hexdigest() for data in table["data"]] == table["sha256"].tolist()
    cosines = [int(image_id[:6], 16) / 2**24 for image_id in table.index]
    assert table["demo_clip.clip_score"].tolist() == pytest.approx([2.5 * cosine for cosine in cosines], rel=1e-6)
    assert not {"host", "key", "worker"} & set(table.columns)
    check_sums(tmp_path / "set")


def test_shards_are_numbered_and_of_equal_size_and_a_prompt_is_in_one_split(run: Run, tmp_path: Path) -> None:
    run.export(tmp_path / "set", layout="webdataset", splits=SPLITS, shard_size=7)
    table = rows(tmp_path / "set")
    sizes = table.groupby("file").size()
    assert list(sizes.index) == [f"{split}-{number:06d}.tar" for split in SPLITS for number in
                                 range(sizes.index.str.startswith(split).sum())]  # fmt: skip
    for split in SPLITS:
        own = sizes[sizes.index.str.startswith(split)]
        assert own.max() <= 7
        assert own.max() - own.min() <= 1
    assert (table.groupby("text")["file"].agg(lambda names: len({name[:5] for name in names})) == 1).all()
    run.export(tmp_path / "whole", layout="webdataset", shard_size=7)
    assert sorted(name for name in files(tmp_path / "whole") if name.endswith(".tar"))[-1] == "000005.tar"


def test_parquet_is_named_as_the_hub_reads_it_and_says_which_column_is_the_image(run: Run, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    run.export(tmp_path / "set", shard_size=20)
    names = sorted(path.name for path in (tmp_path / "set" / "data").iterdir())
    assert names == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    schema = pq.read_schema(tmp_path / "set" / "data" / names[0])
    assert schema.names[:2] == ["image", "text"]
    assert b'"image": {"_type": "Image"}' in schema.metadata[b"huggingface"]


def test_a_condition_chooses_by_settings_own_columns_and_scores(run: Run, tmp_path: Path) -> None:
    where = "guidance_scale > 3 and lang = 'de' and demo_clip.clip_score > 1"
    found = run.export(tmp_path / "set", where=where)
    records = run.records
    scores = records.image_id.map(lambda image_id: 2.5 * int(image_id[:6], 16) / 2**24)
    wanted = records[(records.guidance_scale > 3) & (records.lang == "de") & (scores > 1)]
    table = rows(tmp_path / "set")
    assert set(table.image_id) == set(wanted.image_id)
    assert 0 < len(table) < 6
    assert found.counts.num_excluded == 36 - len(table)
    assert "demo_clip.clip_score" not in table
    assert f"{36 - len(table)} images do not hold the condition" in (tmp_path / "set" / "README.md").read_text()


def test_some_cells_alone_are_exported_and_dropped_ones_only_by_name(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.uri, tmp_path / "run")
    own, (first, second) = darkroom.open_run(tmp_path / "run"), run.cells
    put_choices(own.store, [first, second], [Dropped(second, 1, 2, 4, "demo_clip.clip_score", 0.1, 2, 2, 1)])
    told: list[object] = []
    own.export(tmp_path / "best", progress=told.append)
    own.export(tmp_path / "worse", cells=[second])
    assert set(rows(tmp_path / "best").cell_id) == {first}
    assert set(rows(tmp_path / "worse").cell_id) == {second}
    assert [event for event in told if isinstance(event, Noted) and "dropped early are left out" in event.text]
    assert "1 cells were dropped early" in (tmp_path / "best" / "README.md").read_text()


@pytest.mark.slow
def test_images_inside_containers_are_exported_as_they_are(run: Run, tmp_path: Path) -> None:
    for layout in ("webdataset", "parquet"):
        own = committed(tmp_path / layout, layout)
        own.export(tmp_path / f"of_{layout}", shard_size=10)
        assert set(rows(tmp_path / f"of_{layout}").sha256) == set(run.records.sha256)


# Cut off, and gone on with -------------------------------------------------------------------------------------------


class Stopped(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_cut_off_goes_on_and_ends_in_the_same_bytes(run: Run, layout: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"layout": layout, "splits": SPLITS, "shard_size": 5}

    def stop(event: object) -> None:
        if isinstance(event, ShardWritten) and event.num_done == 3:
            raise Stopped

    whole, cut = tmp_path / "whole" / "set", tmp_path / "cut" / "set"
    first = run.export(whole, **options)
    with pytest.raises(Stopped):
        run.export(cut, progress=stop, **options)
    there = files(cut)
    assert "export.json" in there
    assert "SHA256SUMS" not in there
    listed = [cut / name for name in there if name.endswith("metadata.parquet")]
    for path in listed[:1]:  # as it is where a shard of single files is cut off itself
        path.unlink()
        next(path.parent.glob("*.png")).unlink()
    times = {name: (cut / name).stat().st_mtime_ns for name in there if (cut / name).exists()}
    second = run.export(cut, **options)
    assert files(cut) == files(whole)
    assert {name: (cut / name).stat().st_mtime_ns for name in times} == times
    assert (first.num_shards_before, second.num_shards) == (0, first.num_shards)
    assert 2 <= second.num_shards_before < second.num_shards
    assert run.export(cut, **options).num_shards_before == second.num_shards
    assert files(cut) == files(whole)


@pytest.mark.slow
def test_a_process_that_is_killed_goes_on_and_ends_in_the_same_bytes(run: Run, tmp_path: Path) -> None:
    code = f"""if True:
        import os, signal, darkroom
        from darkroom.exporting.writing import ShardWritten
        def die(event):
            if isinstance(event, ShardWritten) and event.num_done == 2:
                os.kill(os.getpid(), signal.SIGKILL)
        darkroom.export({run.uri!r}, {str(tmp_path / "cut" / "set")!r}, shard_size=3, progress=die)
    """
    killed = subprocess.run([sys.executable, "-c", code], timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert 2 <= len(list((tmp_path / "cut" / "set" / "data").glob("*.parquet"))) < 12
    for place in ("cut", "whole"):
        run.export(tmp_path / place / "set", shard_size=3)
    left = {name: data for name, data in files(tmp_path / "cut" / "set").items() if "/.tmp-" not in name}
    assert left == files(tmp_path / "whole" / "set")


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["webdataset", "imagefolder"])
def test_from_s3_to_s3_it_is_the_same_bytes(run: Run, layout: str, s3_endpoint: str, tmp_path: Path) -> None:
    away = open_store(parse_spec(f"s3://bucket/{layout}/run", s3_endpoint))
    for info in run.store.list():
        away.put(info.key, run.store.get(info.key))
    there = Run(away, run.info, run.cells)
    place = f"s3://bucket/{layout}/set"
    for _ in range(2):
        there.export(place, layout=layout, shard_size=20)
    run.export(tmp_path / "set", layout=layout, shard_size=20)
    store = open_store(parse_spec(place, s3_endpoint))
    assert {info.key: store.get(info.key) for info in store.list()} == files(tmp_path / "set")


def test_a_run_that_grows_meanwhile_is_exported_as_it_was(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run.uri, tmp_path / "run")
    own = darkroom.open_run(tmp_path / "run")
    late = [info.key for info in own.store.list("metadata/")][1:3]
    manifests = {key: own.store.get(key) for key in late}
    own.store.delete(late)

    def claim_and_grow(to: Store, wanted: Mapping[str, Any]) -> None:
        claim(to, wanted)
        for key, data in manifests.items():
            own.store.put(key, data)

    monkeypatch.setattr("darkroom.api.exporting.claim", claim_and_grow)
    found = own.export(tmp_path / "set", shard_size=5)
    assert (found.num_images, len(rows(tmp_path / "set")), len(own.records)) == (28, 28, 36)
    assert "8 rows of prompts were not rendered yet" in (tmp_path / "set" / "README.md").read_text()
    check_sums(tmp_path / "set")


def test_an_image_of_a_folder_that_is_lost_is_put_back(run: Run, tmp_path: Path) -> None:
    run.export(tmp_path / "set", layout="imagefolder", shard_size=20)
    before = files(tmp_path / "set")
    lost, damaged, *_ = (tmp_path / "set").rglob("*.png")
    lost.unlink()
    assert run.export(tmp_path / "set", layout="imagefolder", shard_size=20).num_shards_before == 2
    assert files(tmp_path / "set") == before
    for other in (b"", bytes(damaged.stat().st_size)):
        damaged.write_bytes(other)
        with pytest.raises(DarkroomError, match=rf"{damaged.name}: its bytes are not what this export writes"):
            run.export(tmp_path / "set", layout="imagefolder", shard_size=20)


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cells": ["0123456789abcdef"]}, "cells: no cell of this run '0123456789abcdef'"),
        ({"cells": []}, r"cells=\[\] chooses none"),
        ({"where": "guidance_scale > 99"}, "no image is chosen; where=guidance_scale > 99 leaves out all 36"),
        ({"where": "guidance > 3"}, "where=guidance > 3: no column 'guidance'; did you mean guidance_scale"),
        ({"where": "aesthetic.score > 3"}, "no column 'aesthetic'"),
        ({"where": "demo_clip.fid > 3"}, "where=demo_clip.fid > 3: .*fid"),
        ({"where": "row +"}, "give a condition in SQL"),
        ({"scores": ["clip.clip_score"]}, "scores: no score of the run 'clip.clip_score'"),
        ({"splits": {"train": 0.9, "test": 0.2}}, "the shares sum to 1.1; give such that sum to 1"),
        ({"splits": {"train": 1.2, "test": -0.2}}, "splits: train=1.2; give a share"),
        ({"splits": {"train": 0.5, "All": 0.5}}, "'All' means all splits"),
        ({"splits": {"train": 0.5, "a/b": 0.5}}, "'a/b' is no name of a split"),
        ({"splits": {"train": 0.99999, "test": 0.00001}}, "splits: test=1e-05 holds none of the 36 images"),
        ({"layout": "csv"}, "layout=csv: no such choice; choices are parquet, webdataset, imagefolder"),
        ({"shard_size": 0}, "shard_size=0 is out of range"),
        ({"license": "All rights reserved"}, "license=All rights reserved: no word for a license"),
        ({"endpoint_url": "http://127.0.0.1:1"}, "endpoint"),
        ({"to_endpoint_url": "http://127.0.0.1:1"}, "to_endpoint_url is for an object store"),
        ({"lincense": "mit"}, "no option 'lincense'; did you mean license"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    run: Run, options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(DarkroomError, match=said) as caught:
        run.export(tmp_path / "set", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "set").exists()


def test_a_place_that_is_not_free_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    cases = {
        tmp_path / "full": "notes.txt lies there, and no export.json that says it is an export",
        tmp_path / "file": "is a file; name a folder",
        tmp_path / "file" / "below": "cannot be written",
        Path(run.uri): "lies in the run",
        Path(run.uri) / "export": "lies in the run",
        Path(run.uri).parent: "the run .* lies in it",
    }
    before = files(Path(run.uri))
    for place, said in cases.items():
        with pytest.raises(DarkroomError, match=said):
            run.export(place)
    assert files(Path(run.uri)) == before
    assert files(tmp_path / "full") == {"notes.txt": b"mine"}


@pytest.mark.slow
def test_another_export_into_the_same_folder_is_refused_by_what_differs(run: Run, tmp_path: Path) -> None:
    run.export(tmp_path / "set", where="guidance_scale > 3")
    before = files(tmp_path / "set")
    cases: dict[str, dict[str, Any]] = {
        "layout is \"parquet\" in the export that is there, and \"webdataset\" in this one": {"layout": "webdataset"},
        'where is "guidance_scale > 3" in the export that is there, and null in this one': {"where": None},
        "splits is null": {"splits": SPLITS},
        "num_shards is": {"shard_size": 2},
    }  # fmt: skip
    for said, options in cases.items():
        with pytest.raises(DarkroomError, match=re.escape(said)):
            run.export(tmp_path / "set", **{"where": "guidance_scale > 3", **options})
    run.export(tmp_path / "set", where="guidance_scale > 3", license="cc-by-4.0")  # of the card alone
    changed = {name for name, data in files(tmp_path / "set").items() if data != before[name]}
    assert changed == {"README.md", "SHA256SUMS", "croissant.json"}


def test_a_damaged_image_is_named_and_not_exported(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.uri, tmp_path / "run")
    own = darkroom.open_run(tmp_path / "run")
    record = own.records.iloc[20]
    path = tmp_path / "run" / record.key
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"x")
    with pytest.raises(
        DarkroomError, match=rf"image {record.image_id} .*not what was committed; .*repair run="
    ) as caught:
        own.export(tmp_path / "set", layout="webdataset", shard_size=6)
    assert "\n" not in str(caught.value)
    assert all(name.endswith((".tar", "export.json")) for name in files(tmp_path / "set"))
    assert record.image_id not in set(rows(tmp_path / "set").image_id)
    path.write_bytes(data)
    own.export(tmp_path / "set", layout="webdataset", shard_size=6)
    assert len(rows(tmp_path / "set")) == 36


@pytest.mark.parametrize("layout", ["parquet", "webdataset"])
def test_a_shard_that_is_there_and_damaged_is_named(run: Run, layout: str, tmp_path: Path) -> None:
    run.export(tmp_path / "set", layout=layout, shard_size=20)
    path = next(path for path in (tmp_path / "set").rglob("*") if path.suffix in (".tar", ".parquet"))
    data = path.read_bytes()
    for damaged in (data[:-2000], data.replace(b"guidance_scale", b"guidance_scalf")):
        path.write_bytes(damaged)
        with pytest.raises(DarkroomError, match=rf"{path.name}: its bytes are not what this export writes"):
            run.export(tmp_path / "set", layout=layout, shard_size=20)
    path.unlink()
    run.export(tmp_path / "set", layout=layout, shard_size=20)
    assert path.read_bytes() == data


def test_scores_that_not_all_images_have_are_refused(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.uri, tmp_path / "run")
    own = darkroom.open_run(tmp_path / "run")
    own.store.delete([next(own.store.list("features/")).key])
    [evaluation] = read_evaluations(own.store)
    put_evaluation(own.store, "2026-01-01", replace(evaluation, options={"extractors": ["mine:make"]}))
    for options in ({"where": "demo_clip.clip_score > 1"}, {"scores": ["demo_clip.clip_score"]}):
        with pytest.raises(
            DarkroomError, match=r"not all .* have .*; measure .*evaluate run=.* .extractors=.*mine:make"
        ):
            own.export(tmp_path / "set", **options)
    own.export(tmp_path / "set")


# The card ------------------------------------------------------------------------------------------------------------


def test_the_card_says_what_it_is_and_its_commands_work(run: Run, tmp_path: Path) -> None:
    run.export(
        tmp_path / "set",
        splits=SPLITS,
        license="cc-by-4.0",
        where="guidance_scale > 3",
        scores=["demo_clip.clip_score"],
    )
    text = (tmp_path / "set" / "README.md").read_text()
    said = header(text)
    assert said["license"] == "cc-by-4.0"
    assert said["task_categories"] == ["text-to-image"]
    assert said["size_categories"] == ["n<1K"]
    [config] = said["configs"]  # type: ignore[misc]
    assert config["data_files"] == [{"split": name, "path": f"data/{name}-*.parquet"} for name in SPLITS]
    for words in ("# set", "18 images", "CLIP score", "[19.0000, 22.0000]", "18 images do not hold the condition",
                  run.info.prompts.fingerprint):  # fmt: skip
        assert words in text, words
    assert str(tmp_path) not in text
    assert str(Path(run.uri).parent) not in text
    commands = [shlex.split(block) for block in re.findall(r"```sh\n(.*?)\n```", text, re.DOTALL)]
    assert [words[1] for words in commands] == ["sweep", "export"]
    for _, job, *words in commands:
        composed(job, words)
    again = composed("export", commands[1][2:])
    assert (again.where, dict(again.splits), list(again.scores)) == (
        "guidance_scale > 3",
        SPLITS,
        ["demo_clip.clip_score"],
    )


def test_names_that_yaml_takes_for_something_else_are_texts_on_the_card(run: Run, tmp_path: Path) -> None:
    scores = ["demo_clip.clip_score"] * 2
    run.export(tmp_path / "set", splits={"1": 0.5, "no": 0.5}, license="1.0", scores=scores)
    said = header((tmp_path / "set" / "README.md").read_text())
    [config] = said["configs"]  # type: ignore[misc]
    assert [each["split"] for each in config["data_files"]] == ["1", "no"]
    assert said["license"] == "1.0"
    assert "source_demo_clip.clip_score" not in rows(tmp_path / "set")


def test_the_job_says_what_it_wrote(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ("layout=webdataset", "where=lang = 'de'", "splits={train: 0.5, test: 0.5}", "shard_size=4")
    assert run_here("export", *named(run.store), f"to={tmp_path / 'set'}", *words) == 0
    said = capsys.readouterr().out
    assert re.search(r"images: \d+ in test, \d+ in train; \d shards, ", said), said
    assert "24 images do not hold the condition" in said
    assert f"place:  {tmp_path / 'set'}" in said
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
