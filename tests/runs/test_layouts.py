"""What is stored of an image, and what becomes of objects that lie there already: equal ones alone are adopted."""

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import fromstring

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from darkroom.domain.identity import ModelIdentity
from darkroom.domain.prompt_syntax import read_prompt
from darkroom.domain.records import ImageRequest, samples
from darkroom.domain.settings import Sampling
from darkroom.engine.tasks import RetryTask
from darkroom.rendering.renderer import PaintRenderer, RenderedImage
from darkroom.runs import manifest
from darkroom.runs.encoding import IMAGE_FORMATS, EncodedImage, FileText, decode, encode, sha256_of
from darkroom.runs.files import IMAGES_PREFIX, manifest_key
from darkroom.runs.images import stored_objects
from darkroom.runs.layouts import (
    LAYOUTS,
    Placed,
    encode_image,
    parameters_line,
    place_sidecar,
    settings_json,
    xmp_packet,
)
from darkroom.runs.reading import records
from darkroom.runs.run import OutputInfo
from darkroom.runs.signing import ManifestSigner
from darkroom.runs.signing_keys import TEST, Signing
from darkroom.storage.store import Store, StoreSpec, open_store
from tests.engine.helpers import CELL, Misbehaving, dataset, run_info, tasks
from tests.engine.helpers import worker as make_worker

GARBAGE = {"cut": lambda data: data[: len(data) // 2], "emptied": lambda data: b"", "foreign": lambda data: b"hello"}


@pytest.fixture(params=["disk", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "disk":
        return open_store(StoreSpec(str(tmp_path)))
    endpoint = request.getfixturevalue("s3_endpoint")
    return open_store(StoreSpec(f"s3://bucket/{tmp_path.name}", endpoint))


class Darker:
    """Paints as in another batch size: the same request gives pixels that differ in their lowest bits."""

    def __init__(self) -> None:
        self._painter = PaintRenderer(2)
        self.info = replace(self._painter.info, batch_size=2)

    def render(self, requests: list) -> list[RenderedImage]:
        return [RenderedImage(image.pixels // 2) for image in self._painter.render(requests)]


def committed_whole(store: Store, layout: str) -> None:
    """Every record's object holds what the record says, and no other object is there."""
    found = list(records(store))
    assert {record.status for record in found} == {"ok"}
    output = run_info(dataset(["a"]), layout=layout).output
    objects = list(stored_objects(store, {CELL.cell_id: _Info()}, output))
    assert [dict(item.damages) for item in objects] == [{}] * len(objects)
    assert {info.key for info in store.list(IMAGES_PREFIX)} == {record.key for record in found}


class _Info:
    cell = CELL


def left_by_a_killed_attempt(store: Store, renderer: object, layout: str) -> tuple:
    """A shard whose images are stored and whose manifest is not."""
    prompts = dataset(["a", "b", "c"])
    run = run_info(prompts, layout=layout)
    [task] = tasks(run, prompts, store)
    make_worker(run, renderer, store).run_task(task, 1)
    store.delete([manifest_key(name) for name in manifest.committed(store)])
    return run, task


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("harm", GARBAGE)
def test_garbage_under_an_images_key_is_not_adopted(store: Store, layout: str, harm: str) -> None:
    run, task = left_by_a_killed_attempt(store, Misbehaving(), layout)
    for info in list(store.list(IMAGES_PREFIX)):
        store.put(info.key, GARBAGE[harm](store.get(info.key)))
    make_worker(run, Misbehaving(), store).run_task(task, 2)
    committed_whole(store, layout)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_record_describes_the_attempt_that_made_its_bytes(store: Store, layout: str) -> None:
    run, task = left_by_a_killed_attempt(store, Darker(), layout)
    make_worker(run, Misbehaving(batch_size=4), store).run_task(task, 2)
    committed_whole(store, layout)
    assert {record.batch_size for record in records(store)} == {4}


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_equal_bytes_are_adopted_under_their_own_name(store: Store, layout: str) -> None:
    run, task = left_by_a_killed_attempt(store, Misbehaving(), layout)
    before = {info.key for info in store.list(IMAGES_PREFIX)}
    make_worker(run, Misbehaving(), store).run_task(task, 2)
    committed_whole(store, layout)
    assert {info.key for info in store.list(IMAGES_PREFIX)} == before


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_who_loses_the_commit_changes_nothing_that_the_winner_named(store: Store, layout: str) -> None:
    """A zombie wakes up after another attempt with other bytes has committed."""
    prompts = dataset(["a", "b", "c"])
    run = run_info(prompts, layout=layout)
    [task] = tasks(run, prompts, store)
    assert make_worker(run, Misbehaving(), store).run_task(task, 1).is_first
    before = {info.key: store.get(info.key) for info in store.list()}
    assert not make_worker(run, Darker(), store).run_task(task, 2).is_first
    after = {info.key: store.get(info.key) for info in store.list()}
    assert before.items() <= after.items()


@pytest.mark.slow
def test_a_second_key_that_holds_other_bytes_is_mended(store: Store) -> None:
    run, task = left_by_a_killed_attempt(store, Darker(), "files")
    make_worker(run, Misbehaving(), store).run_task(task, 2)
    [name] = manifest.committed(store)
    keys = [record.key for record in records(store)]
    store.delete([manifest_key(name)])
    for key in keys:
        first = key.partition("-")[0] + ".png"
        store.put(first, b"other bytes")
        store.put(key, b"garbage")
    make_worker(run, Misbehaving(), store).run_task(task, 3)
    committed_whole(store, "files")


@pytest.mark.slow
def test_retry_does_not_adopt_an_older_failures_bytes(store: Store, tmp_path: Path) -> None:
    prompts = dataset(["a", "fail once", "b"])
    run = run_info(prompts)
    [task] = tasks(run, prompts, store)
    renderer = Misbehaving(flag=str(tmp_path / f"{tmp_path.name}-flag"))
    make_worker(run, renderer, store).run_task(task, 1)
    failed = next(record for record in records(store) if record.status != "ok")
    store.put(f"images/{failed.image_id[:2]}/{failed.image_id}.png", b"other bytes")
    [name] = manifest.committed(store)
    make_worker(run, renderer, store).run_task(RetryTask(name, CELL), 1)
    assert b"other bytes" not in [store.get(str(record.key)) for record in records(store)]
    store.delete([f"images/{failed.image_id[:2]}/{failed.image_id}.png"])
    committed_whole(store, "files")


@pytest.mark.slow
def test_records_say_where_an_image_was_made_and_what_its_pixels_are(store: Store) -> None:
    run, task = left_by_a_killed_attempt(store, Misbehaving(), "files")
    make_worker(run, Misbehaving(), store).run_task(task, 1)
    painter = PaintRenderer(1)
    requests = {sample.request.image_id: sample.request for sample in _samples(task, run)}
    for record in records(store):
        [image] = painter.render([requests[record.image_id]])
        assert record.pixels_sha256 == hashlib.sha256(image.pixels.tobytes()).hexdigest()
        assert record.host
        assert (record.device_id, record.worker) == ("cpu", "local")


def _samples(task: object, run: object) -> list:
    return [item for row in task.rows for item in samples(row, CELL, run.seed, run.num_images_per_prompt)]


# Texts beside an image -----------------------------------------------------------------------------------------------


MODEL = ModelIdentity("some/model", "sha256:abcdef0123456789", "float32", "P")
PIXELS = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)


@given(st.text(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_prompt_can_be_written_into_a_png(prompt: str) -> None:
    request = ImageRequest("0a", prompt, 5, Sampling("ddim", 5.0, 20, 16, 24, prompt))
    text = {"parameters": parameters_line(request, MODEL), "darkroom": settings_json(request, MODEL)}
    image = Image.open(io.BytesIO(encode(PIXELS, "png", 90, FileText(text))))
    assert image.text["parameters"] == text["parameters"].replace("\0", "\ufffd")
    assert json.loads(image.text["darkroom"])["seed"] == 5


@pytest.mark.parametrize("image_format", IMAGE_FORMATS)
@given(st.text(max_size=60))
@settings(max_examples=20, deadline=None)
def test_any_file_says_that_a_model_made_it(image_format: str, prompt: str) -> None:
    request = ImageRequest("0a", prompt, 5, Sampling("ddim", 5.0, 20, 16, 24, ""))
    output = OutputInfo("files", image_format, 90, provenance=True)
    data = encode_image(request, PIXELS, MODEL, output).data
    assert data == encode_image(request, PIXELS, MODEL, output).data
    image = Image.open(io.BytesIO(data))
    about = image.getxmp()["xmpmeta"]["RDF"]["Description"]
    assert about["DigitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert about["AISystemUsed"] == "some/model"
    if image_format == "png":
        assert np.array_equal(decode(data), PIXELS)
    else:
        comment = image.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
        assert comment == b"UNICODE\0" + parameters_line(request, MODEL).encode("utf-16-be", "replace")
    plain = encode_image(request, PIXELS, MODEL, replace(output, provenance=None))
    assert b"trainedAlgorithmicMedia" not in plain.data
    assert np.array_equal(decode(plain.data), decode(data))


def test_a_prompt_of_any_characters_is_xml() -> None:
    request = ImageRequest("0a", "<a> & \0\ud800 猫\r\n", 5, Sampling("ddim", 5.0, 20, 16, 24, ""))
    [found] = [each.text for each in fromstring(xmp_packet(request, MODEL)).iter() if each.tag.endswith("Information")]
    assert found == "<a> & \ufffd\ufffd 猫\r\n"


def test_a_text_that_a_jpeg_cannot_hold_is_left_to_the_records() -> None:
    request = ImageRequest("0a", "a" * 70_000, 5, Sampling("ddim", 5.0, 20, 16, 24, ""))
    data = encode_image(request, PIXELS, MODEL, OutputInfo("files", "jpeg", 90, provenance=True)).data
    assert Image.open(io.BytesIO(data)).size == (24, 16)
    assert b"trainedAlgorithmicMedia" in data


def test_parameters_are_laid_out_as_image_tools_read_them() -> None:
    request = ImageRequest("0a", "a cat", 5, Sampling("euler", 7.5, 20, 512, 768, "blurry"))
    assert parameters_line(request, MODEL) == (
        "a cat\nNegative prompt: blurry\nSteps: 20, Sampler: euler, CFG scale: 7.5, Seed: 5, Size: 768x512, "
        "Model: some/model, Model hash: abcdef0123"
    )


def test_a_models_own_scheduler_is_called_by_its_class_and_its_options_are_kept() -> None:
    facts = {"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear"}
    request = ImageRequest("0a", "a cat", 5, Sampling("default", 7.5, 20, 512, 768))
    assert "Sampler: DDIMScheduler," in parameters_line(request, MODEL, json.dumps(facts))
    assert "Sampler: default," in parameters_line(request, MODEL)
    assert json.loads(settings_json(request, MODEL, json.dumps(facts)))["scheduler_config"] == facts
    assert "scheduler_config" not in json.loads(settings_json(request, MODEL))


def test_brackets_of_plain_prompts_are_no_weights_to_image_tools() -> None:
    sampling = Sampling("euler", 7.5, 20, 512, 768, "(bad:2)")
    plain = ImageRequest("0a", r"a (red:1.2) [cat] C:\x", 5, sampling)
    said = r"a \(red:1.2\) \[cat\] C:\\x" + "\n" + r"Negative prompt: \(bad:2\)" + "\n"
    assert parameters_line(plain, MODEL).startswith(said)
    assert read_prompt(said.split("\n")[0], "a1111").parts == ((plain.prompt, 1.0),)
    read = replace(plain, sampling=replace(sampling, prompt_syntax="a1111"))
    assert parameters_line(read, MODEL).startswith(f"{plain.prompt}\nNegative prompt: (bad:2)\n")


def test_a_signed_manifest_that_an_attempt_has_left_keeps_its_name(store: Store) -> None:
    """By which C2PA's tools look for it; one by another certificate, or of another image, is no such."""
    image = EncodedImage("00ff", encode(np.zeros((8, 8, 3), np.uint8), "png", 0), "png", "", "{}")
    signer, stranger = ManifestSigner(Signing(TEST)), ManifestSigner(Signing(TEST))
    first, second, third = signer.sign(image, "png"), signer.sign(image, "png"), stranger.sign(image, "png")

    def placed(data: bytes, by: ManifestSigner) -> Placed:
        return place_sidecar(store, "images/00/00ff.png", data, lambda there: by.has_signed(there, image, "png"))

    for data in (first, second):
        assert placed(data, signer) == Placed("images/00/00ff.c2pa", None, None, sha256_of(first), len(first), None)
    key = f"images/00/00ff-{sha256_of(third)[:16]}.c2pa"
    assert placed(third, stranger) == Placed(key, None, None, sha256_of(third), len(third), "images/00/00ff.c2pa")
    assert (store.get("images/00/00ff.c2pa"), store.get(key)) == (first, third)
