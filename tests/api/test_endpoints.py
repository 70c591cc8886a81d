"""Whose endpoint an argument is, of an open run, of addresses and of folders; and cells that are named."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import darkroom
from darkroom.api.run import Run, endpoints
from darkroom.domain.errors import DarkroomError
from darkroom.storage.store import StoreSpec

ENDPOINT = "http://127.0.0.1:1"


def opened(uri: str, endpoint_url: str | None = None) -> Run:
    return Run(SimpleNamespace(spec=StoreSpec(uri, endpoint_url)), None, {})  # type: ignore[arg-type]


def test_an_endpoint_is_of_addresses_in_a_store_and_else_of_all() -> None:
    run = opened("s3://b/x")
    assert endpoints("e", "s3://b/x", "folder") == ["e", None]
    assert endpoints("e", run, "s3://b/x") == [None, "e"]
    assert endpoints("e", "folder", None) == ["e", "e"]
    assert endpoints(None, "s3://b/x") == [None]


def test_an_address_beside_an_open_run_in_such_a_store_has_its_endpoint_unless_one_is_given() -> None:
    run = opened("s3://b/x", ENDPOINT)
    assert endpoints(None, run, "s3://other/y#0123456789abcdef") == [None, ENDPOINT]
    assert endpoints(None, "s3://other/y", run) == [ENDPOINT, None]
    assert endpoints(None, run, "gs://b/y") == endpoints(None, run, "folder") == [None, None]
    assert endpoints("https://s3.amazonaws.com", run, "s3://b/y") == [None, "https://s3.amazonaws.com"]
    assert endpoints(None, opened("/folder"), "s3://b/y") == [None, None]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "run"
    return darkroom.generate(["a cat"], model="paint", out=out, height=16, width=16)


@pytest.mark.parametrize(
    "call",
    [
        lambda run: darkroom.open_run(run, endpoint_url=ENDPOINT),
        lambda run: darkroom.evaluate(run, endpoint_url=ENDPOINT),
        lambda run: darkroom.report(run, endpoint_url=ENDPOINT),
        lambda run: run.compare(run, endpoint_url=ENDPOINT),
    ],
)
def test_an_endpoint_that_nothing_would_ask_is_refused(run: Run, call: Callable[[Run], Any]) -> None:
    with pytest.raises(DarkroomError, match=f"^endpoint_url={ENDPOINT}: the run .* is open already"):
        call(run)


@pytest.mark.slow
def test_a_report_of_a_folder_goes_to_a_store_and_the_other_way(run: Run, s3_endpoint: str, tmp_path: Path) -> None:
    there = darkroom.report(run.uri, out="s3://bucket/report", endpoint_url=s3_endpoint)
    assert there.place == "s3://bucket/report/index.html"
    stored = darkroom.generate(
        ["a cat"], model="paint", out="s3://bucket/reported", endpoint_url=s3_endpoint, height=16, width=16
    )
    darkroom.report(stored.uri, out=tmp_path / "report", endpoint_url=s3_endpoint)
    assert (tmp_path / "report" / "index.html").exists()
    assert stored.report(out="s3://bucket/elsewhere").place == "s3://bucket/elsewhere/index.html"
    with pytest.raises(DarkroomError, match=r"^a=s3://bucket/reported and b=s3://bucket/reported: not all of their im"):
        stored.compare("s3://bucket/reported")


def test_a_cell_that_is_named_twice_is_refused_where_they_are_two(run: Run) -> None:
    [cell] = run.cells
    with pytest.raises(DarkroomError, match=f"^a_cell={'0' * 16}: a=.*#{cell} names another cell; leave one of them"):
        darkroom.compare(f"{run.uri}#{cell}", run, a_cell="0" * 16)


def test_which_of_two_runs_is_not_there_is_said(run: Run, tmp_path: Path) -> None:
    for a, b, name in ((run, tmp_path / "nowhere", "b"), ("ftp://x/y", run, "a"), (run, "", "b")):
        with pytest.raises(DarkroomError, match=f"^{name}(:| is empty)"):
            darkroom.compare(a, b)
