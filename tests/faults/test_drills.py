"""Each drill once, as real processes, against a disk and a real S3 server behind a proxy that spoils."""

import subprocess
from pathlib import Path

import pytest

from tests.faults import drills, mixing_drills
from tests.faults.account import Whole
from tests.faults.conftest import ZERO, counts

pytestmark = pytest.mark.slow


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["files", "webdataset"])
def test_a_driver_killed_in_every_phase(expected: Whole, tmp_path: Path, layout: str) -> None:
    phases = [phase for phase in drills.DRIVER_PHASES if layout == "files" or phase[1] != "images/"]
    tally = drills.driver_killed(expected, drills.place(tmp_path, None, None, f"output.layout={layout}"), phases)
    assert tally.injected == len(phases)
    assert counts(tally) == ZERO


@pytest.mark.slow
def test_a_job_killed_while_it_copies_manifests(expected: Whole, tmp_path: Path) -> None:
    tally = drills.copying_killed(expected, drills.place(tmp_path))
    assert tally.injected >= 5
    assert counts(tally) == ZERO


@pytest.mark.slow
def test_two_drivers_at_once(expected: Whole, tmp_path: Path) -> None:
    assert counts(drills.two_drivers(expected, drills.place(tmp_path))) == ZERO


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "when", "prefix", "nth"),
    [
        ("files", "before", "images/", 3),
        ("files", "before", "metadata/", 1),
        ("webdataset", "before", "images/", 1),
        ("parquet", "after", "images/", 2),
    ],
)
def test_a_zombie(expected: Whole, tmp_path: Path, layout: str, when: str, prefix: str, nth: int) -> None:
    here = drills.place(tmp_path, None, None, f"output.layout={layout}")
    assert counts(drills.zombie(expected, here, when, prefix, nth)) == ZERO


@pytest.mark.slow
def test_s3_that_fails_now_and_then(expected: Whole, in_s3: tuple) -> None:
    tally = drills.s3_storm(expected, *in_s3, 0.1)
    assert counts(tally) == ZERO
    assert tally.injected > 10
    assert "store calls were made again" in tally.said


@pytest.mark.slow
def test_s3_that_throttles_everything_for_a_while(expected: Whole, in_s3: tuple) -> None:
    tally = drills.s3_throttled(expected, *in_s3, 2.0)
    assert counts(tally) == ZERO
    assert tally.injected


@pytest.mark.slow
@pytest.mark.parametrize("fault", drills.GONE)
def test_a_store_that_is_gone_and_comes_back(expected: Whole, in_s3: tuple, fault: str) -> None:
    assert counts(drills.s3_gone(expected, *in_s3, fault)) == ZERO


@pytest.mark.slow
def test_a_disk_that_is_full(expected: Whole, tmp_path: Path) -> None:
    try:
        with drills.small_disk(tmp_path / "disk") as disk:
            here = drills.place(tmp_path, None, str(disk / "run"))
            assert counts(drills.disk_full(expected, here, disk)) == ZERO
    except subprocess.CalledProcessError:
        pytest.skip("mounting a small disk needs the rights of root")


@pytest.mark.slow
def test_flipped_bits_in_stored_images(expected: Whole, tmp_path: Path) -> None:
    tally = drills.bits_flipped(expected, drills.place(tmp_path))
    assert counts(tally) == ZERO
    assert tally.injected == 20


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["files", "webdataset"])
@pytest.mark.parametrize("drill", [drills.other_pixels_left, drills.images_spoiled])
def test_what_a_killed_start_left_is_not_taken_over(expected: Whole, tmp_path: Path, layout: str, drill) -> None:
    tally = drill(expected, drills.place(tmp_path, None, None, f"output.layout={layout}"))
    assert tally.injected
    assert counts(tally) == ZERO


@pytest.mark.slow
def test_two_different_commands_at_once(expected: Whole, tmp_path: Path) -> None:
    assert counts(mixing_drills.two_commands(expected, tmp_path)) == ZERO


@pytest.mark.slow
@pytest.mark.parametrize("drill", [mixing_drills.run_json_lost, mixing_drills.gc_beside_retry])
def test_what_does_not_belong_together_is_kept_apart(expected: Whole, tmp_path: Path, drill) -> None:
    assert counts(drill(expected, drills.place(tmp_path))) == ZERO


@pytest.mark.slow
def test_weights_that_are_replaced_while_a_sweep_runs(tmp_path: Path) -> None:
    tally = mixing_drills.weights_replaced(tmp_path)
    assert tally.is_clean, tally
