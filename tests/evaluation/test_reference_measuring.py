"""What was measured once is not measured repeated, and what changed is."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation import reference
from darkroom.evaluation.reference import Images, ReferenceSpec
from darkroom.evaluation.reference_measuring import default_cache
from darkroom.evaluation.reference_opening import open_reference
from tests.evaluation.references import Measuring, encoded, settle, tar_bytes, write_folder

IMAGES = {f"{number:02}.png": data for number, data in enumerate(encoded(10))}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "images", IMAGES)


@pytest.fixture
def repeated(tmp_path: Path) -> Measuring:
    """Another evaluation, later."""
    return Measuring(tmp_path / "cache")


def test_a_second_evaluation_loads_no_extractor(folder: Path, measure: Measuring, repeated: Measuring) -> None:
    first, second = measure(folder), repeated(folder)
    assert (measure.num_loaded, measure.num_pictures) == (1, 10)
    assert (repeated.num_loaded, repeated.num_pictures) == (0, 0)
    assert (first.digest, first.ids) == (second.digest, second.ids)
    np.testing.assert_array_equal(first.features, second.features)
    np.testing.assert_array_equal(first.gaussian.covariance, second.gaussian.covariance)


def test_files_that_did_not_change_are_not_even_read(folder: Path, measure: Measuring, repeated: Measuring) -> None:
    settle(folder)
    first = measure(folder)
    for path in folder.iterdir():  # other bytes under the same size and time: whoever read them would notice
        state = path.stat()
        path.write_bytes(bytes(state.st_size))
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert repeated(folder).digest == first.digest


def test_a_changed_file_is_measured_anew(folder: Path, measure: Measuring, repeated: Measuring) -> None:
    settle(folder)
    before = measure(folder)
    (folder / "03.png").write_bytes(encoded(1, seed=9)[0])
    after = repeated(folder)
    assert len(set(before.ids) - set(after.ids)) == 1
    assert repeated.num_loaded == 1


def test_files_changed_a_moment_ago_are_read_again(folder: Path) -> None:
    source = open_reference(ReferenceSpec(str(folder))).source
    assert isinstance(source, Images)
    assert source.listing is None
    settle(folder)
    source = open_reference(ReferenceSpec(str(folder))).source
    assert isinstance(source, Images)
    assert source.listing is not None


def test_the_same_images_elsewhere_are_known(
    folder: Path, tmp_path: Path, measure: Measuring, repeated: Measuring
) -> None:
    first = measure(folder)
    (tmp_path / "a.tar").write_bytes(tar_bytes(IMAGES.items()))
    second = repeated(tmp_path / "a.tar")
    assert repeated.num_loaded == 0
    assert (first.digest, first.ids) == (second.digest, second.ids)


def test_what_was_measured_before_an_error_is_kept(
    folder: Path, measure: Measuring, repeated: Measuring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "NUM_IMAGES", 4)
    good = (folder / "08.png").read_bytes()
    (folder / "08.png").write_bytes(b"spoiled")
    with pytest.raises(DarkroomError, match=r"08\.png"):
        measure(folder)
    (folder / "08.png").write_bytes(good)
    assert len(repeated(folder).ids) == 10
    assert (measure.num_pictures, repeated.num_pictures) == (8, 2)


def test_a_reference_that_grows_costs_what_is_new(
    folder: Path, measure: Measuring, repeated: Measuring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "NUM_IMAGES", 4)
    measure(folder)
    write_folder(folder, {"99.png": encoded(1, seed=9)[0]})
    assert len(repeated(folder).ids) == 11
    assert repeated.num_pictures == 3


@pytest.mark.parametrize("spoil", [b"", b"PAR1 no more", None])
def test_a_damaged_cache_costs_time_and_nothing_else(
    folder: Path, tmp_path: Path, measure: Measuring, repeated: Measuring, spoil: bytes | None
) -> None:
    settle(folder)
    first = measure(folder)
    for path in [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]:
        path.write_bytes(path.read_bytes()[:-20] if spoil is None else spoil)
    second = repeated(folder)
    assert repeated.num_loaded == 1
    np.testing.assert_array_equal(first.features, second.features)
    third = Measuring(tmp_path / "cache")
    third(folder)
    assert third.num_loaded == 0


def test_features_of_another_order_are_not_taken(folder: Path, tmp_path: Path, measure: Measuring) -> None:
    settle(folder)
    first = measure(folder)
    [listing] = (tmp_path / "cache" / "listings").iterdir()
    listing.write_text(json.dumps([["0" * 64, "1" * 64]]))
    assert Measuring(tmp_path / "cache")(folder).digest == first.digest


def test_a_cache_that_cannot_be_written_is_said_once(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    measure = Measuring(tmp_path / "file" / "cache")
    assert len(measure(folder).ids) == 10
    assert sum("cannot be written" in line for line in measure.lines) == 1


def test_work_is_reported_as_it_goes_on(folder: Path, measure: Measuring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "NUM_IMAGES", 4)
    measure(folder)
    assert [line.removeprefix(f"reference {folder}: ") for line in measure.lines] == [
        f"{done} of 10 images" for done in (4, 8, 10)
    ]


def test_the_cache_lies_where_the_user_keeps_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache().describe() == "/somewhere/darkroom/references"
    monkeypatch.setenv("HOME", "/home/me")
    for value in ("relative", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert default_cache().describe() == "/home/me/.cache/darkroom/references"
