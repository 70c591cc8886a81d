"""Runs whose images have signed manifests: stored beside the images, read back, told where they were tampered with,
kept by `gc`, signed anew by `retry`, and handed over by `export`."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import darkroom
from darkroom.api.maintenance import collect
from darkroom.api.output_options import C2paOptions
from darkroom.domain.errors import DarkroomError
from darkroom.exporting.writing import SUMS_KEY
from darkroom.runs import manifest
from darkroom.runs.files import manifest_key
from darkroom.runs.images import stored_sidecars
from darkroom.runs.layouts import LAYOUTS
from darkroom.runs.reading import records
from darkroom.runs.signing import read_manifest
from darkroom.storage.store import Store, open_store, parse_spec
from tests.exporting.runs import files as exported_files
from tests.exporting.runs import header
from tests.jobs.helpers import PAINT, copied, named, run_here
from tests.jobs.test_gc import fail_first

NUM_IMAGES = 12
SIGNED = "output.c2pa.certificate=test"


def generate(folder: Path, layout: str, *words: str) -> int:
    prompts = folder / "prompts.txt"
    prompts.write_text("".join(f"prompt {number}\n" for number in range(NUM_IMAGES // 4)))
    given = (f"prompts.uri={prompts}", f"output.uri={folder / 'run'}", f"output.layout={layout}")
    four = ("sampling.num_images_per_prompt=4", "engine.shard_size=2")
    return run_here("generate", *PAINT, "prompts=file", *given, *four, *words)


@pytest.fixture(scope="module", params=LAYOUTS)
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp(request.param)
    assert generate(folder, request.param, SIGNED) == 0
    return open_store(parse_spec(str(folder / "run"), None))


@pytest.fixture
def run(finished: Store, tmp_path: Path) -> Store:
    return copied(finished, str(tmp_path / "run"))


def flip(store: Store, key: str, place: int) -> None:
    data = bytearray(store.get(key))
    data[place] ^= 1
    store.put(key, bytes(data))


@pytest.mark.slow
def test_manifests_hold_and_leave_images_as_they_are(run: Store, tmp_path: Path, capsys) -> None:
    assert run_here("verify", *named(run), "c2pa=true") == 0
    assert f"{NUM_IMAGES} of {NUM_IMAGES} images have a signed manifest that holds" in capsys.readouterr().out
    layout = json.loads(run.get("run.json"))["output"]["layout"]
    (tmp_path / "plain").mkdir()
    assert generate(tmp_path / "plain", layout) == 0
    plain = open_store(parse_spec(str(tmp_path / "plain" / "run"), None))
    images = [info.key for info in plain.list("images/")]
    assert {key: plain.get(key) for key in images} == {key: run.get(key) for key in images}
    assert run_here("verify", *named(plain), "stored=true") == 0
    with pytest.raises(DarkroomError, match="its images have no signed manifests"):
        run_here("verify", *named(plain), "c2pa=true")
    with pytest.raises(DarkroomError, match=r"output\.c2pa is True in this run and False in the command"):
        generate(tmp_path, layout)


@pytest.mark.slow
def test_what_was_tampered_with_is_named(run: Store, capsys) -> None:
    first, *others = records(run)
    place = run.get(first.c2pa_key).index(stored_sidecars(run, [first])[0].data)
    flip(run, first.c2pa_key, place + first.c2pa_bytes - 150)  # padding, which no signature covers
    last = others[-1]
    flip(run, last.key, (last.offset or 0) + (60 if last.member is None or last.key.endswith(".tar") else 200))
    for check in ("c2pa=true", "stored=true"):
        capsys.readouterr()
        assert run_here("verify", *named(run), check) == 1
        said = {line.partition(" ")[0]: line for line in capsys.readouterr().out.splitlines()}
        assert "signed manifest: its file is not what was stored" in said[first.image_id]
        assert said.keys() & {each.image_id for each in others}  # the image, or all of a Parquet file
    before = run.get(first.c2pa_key)
    assert run_here("repair", *named(run)) == 1  # the image is; no signature can be made again
    assert "no signature can be made again" in capsys.readouterr().out
    assert run.get(first.c2pa_key) == before
    shard = next(manifest.committed(run))
    run.delete([manifest_key(shard)])
    layout = json.loads(run.get("run.json"))["output"]["layout"]
    assert generate(Path(run.spec.uri).parent, layout, SIGNED) == 0
    assert run_here("verify", *named(run), "c2pa=true", "stored=true") == 0
    assert collect(run.spec.uri, older_than_s=0).objects == ()  # what lay in the way is gone


@pytest.mark.slow
def test_a_lost_manifest_comes_back_where_metadata_was_collected(run: Store, capsys) -> None:
    images = {info.key: run.get(info.key) for info in run.list("images/") if not info.key.endswith(".c2pa")}
    assert run_here("compact", *named(run)) == 0
    assert collect(run.spec.uri, older_than_s=0, manifests=True).num_manifests
    first, *_ = records(run)
    flip(run, first.c2pa_key, run.get(first.c2pa_key).index(stored_sidecars(run, [first])[0].data))
    assert run_here("repair", *named(run)) == 1
    assert "the file in compacted/ that copies it, with the .collected beside it" in capsys.readouterr().out
    run.delete([info.key for info in run.list("compacted/")])
    assert generate(Path(run.spec.uri).parent, json.loads(run.get("run.json"))["output"]["layout"], SIGNED) == 0
    assert run_here("verify", *named(run), "c2pa=true", "stored=true") == 0
    assert {key: run.get(key) for key in images} == images


@pytest.mark.slow
def test_gc_keeps_what_records_name_and_removes_the_rest(run: Store) -> None:
    whole = {info.key: run.get(info.key) for info in run.list()}
    run.put("sidecars/00ff.tar", b"of an attempt that lost")
    run.put("images/00/00ff-12.c2pa", b"of another")
    assert {info.key for info in collect(run.spec.uri, older_than_s=0).objects} == {
        "sidecars/00ff.tar", "images/00/00ff-12.c2pa",
    }  # fmt: skip
    assert {info.key: run.get(info.key) for info in run.list()} == whole


@pytest.mark.slow
def test_a_retry_signs_what_it_renders(run: Store) -> None:
    fail_first(run)
    with pytest.raises(DarkroomError, match=r"its images have signed manifests; give output\.c2pa\.certificate"):
        run_here("retry", *named(run), "engine=local")
    assert run_here("retry", *named(run), "engine=local", SIGNED) == 0
    assert run_here("verify", *named(run), "c2pa=true") == 0
    assert collect(run.spec.uri, older_than_s=0).objects
    assert run_here("verify", *named(run), "c2pa=true", "stored=true") == 0


@pytest.mark.slow
def test_an_export_hands_manifests_over_beside_their_images(run: Store, tmp_path: Path) -> None:
    found = list(records(run))
    sidecars = {each.record.image_id: each.data for each in stored_sidecars(run, found)}
    for layout in ("webdataset", "parquet", "imagefolder"):
        to = tmp_path / layout
        for _ in range(2):  # the second finds all there
            darkroom.export(run.spec.uri, to, layout=layout)
        files = exported_files(to)
        if layout == "parquet":
            [name] = [name for name in files if name.endswith(".parquet")]
            assert dict(pd.read_parquet(to / name)[["image_id", "c2pa"]].to_numpy()) == sidecars
        elif layout == "webdataset":
            [name] = [name for name in files if name.endswith(".tar")]
            assert all(data in files[name] for data in sidecars.values())
        else:
            name = found[0].image_id
            assert files[f"train/{name}.c2pa"] == sidecars[name]
            assert read_manifest(files[f"train/{name}.c2pa"], files[f"train/{name}.png"], "png").fault is None
            assert files[SUMS_KEY].count(b".c2pa\n") == NUM_IMAGES
        assert b"signed C2PA manifest" in files["README.md"]
    darkroom.export(run.spec.uri, tmp_path / "smaller", layout="imagefolder", size=8)
    files = exported_files(tmp_path / "smaller")
    assert not [name for name in files if name.endswith(".c2pa")], "which hold for the run's own files alone"
    assert b"encoded anew here: the signed manifests are left out" in files["README.md"]


def test_an_export_of_several_runs_hands_over_what_there_is(tmp_path: Path) -> None:
    """One is signed, one is not, and one is signed and would be encoded anew."""

    def made(name: str, **words: Any) -> darkroom.Run:
        prompts = [f"{name} {number}" for number in range(2)]
        return darkroom.generate(prompts, model="paint", height=16, width=16, out=tmp_path / name, **words)

    signed, plain = made("signed", c2pa={"certificate": "test"}), made("plain", layout="webdataset")
    webp = made("webp", c2pa={"certificate": "test"}, image_format="webp")
    found = list(records(signed.store))
    sidecars = {each.record.image_id: each.data for each in stored_sidecars(signed.store, found)}
    for layout in ("parquet", "webdataset", "imagefolder"):
        to = tmp_path / "sets" / layout
        signed.export(to, others=[plain.uri, webp.uri], layout=layout, image_format="png")
        files = exported_files(to)
        if layout == "parquet":
            [name] = [name for name in files if name.endswith(".parquet")]
            column = pd.read_parquet(to / name).set_index("image_id")["c2pa"]
            assert len(column) == 6
            assert column.dropna().to_dict() == sidecars
        elif layout == "webdataset":
            [name] = [name for name in files if name.endswith(".tar")]
            with tarfile.open(to / name) as tar:
                members = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}  # type: ignore[union-attr]
            assert {name: data for name, data in members.items() if name.endswith(".c2pa")} == {
                f"{image_id}.c2pa": data for image_id, data in sidecars.items()
            }
        else:
            assert {name: data for name, data in files.items() if name.endswith(".c2pa")} == {
                f"train/{image_id}.c2pa": data for image_id, data in sidecars.items()
            }
        card = files["README.md"].decode()
        assert "- every image of signed has a signed C2PA manifest" in card
        assert "- no image of plain has a signed manifest" in card
        assert "- every image of webp was signed as the run stored it, and is encoded anew here" in card
        described = [each["name"] for each in header(card)["dataset_info"]["features"]]  # type: ignore[index]
        assert ("c2pa" in described) == (layout != "imagefolder")
        assert (b'"images/c2pa"' in files["croissant.json"]) == (layout == "parquet")


def test_a_certificate_and_its_key_go_together() -> None:
    with pytest.raises(DarkroomError, match="its private key is missing"):
        run_here("plan", "model=paint", "output.c2pa.certificate=chain.pem")
    pem = "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----"
    bare = "MC4CAQAwBQYDK2VwBCIEIabcabcabcabcabcabcabcabcabcabcabcabcabcabcabc"
    for given in (("chain.pem", pem), (pem, None), (pem, "key.pem"), ("chain.pem", bare), ("chain.pem", f"env:{bare}")):
        with pytest.raises(DarkroomError, match="holds a key or a certificate itself") as raised:
            C2paOptions(*given)
        assert "abc" not in str(raised.value)
    with pytest.raises(DarkroomError, match="does nothing without the certificate"):
        run_here("plan", "model=paint", "output.c2pa.private_key=key.pem")
    with pytest.raises(DarkroomError, match=r"chain\.pem: cannot be read"):
        run_here("plan", "model=paint", "output.c2pa.certificate=chain.pem", "output.c2pa.private_key=env:KEY")
