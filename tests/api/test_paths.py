"""Places as whatever says its path: Path, an entry of os.scandir, an object of somebody's own."""

import os
from pathlib import Path
from typing import Any

import pytest

import darkroom
from darkroom.api.evaluation import extractor_specs, stored_options
from darkroom.api.evaluation_options import EvaluationOptions
from darkroom.domain.errors import DarkroomError

PAINT: dict[str, Any] = {"model": "paint", "height": 16, "width": 16}


class Place:
    """Says its path, as text or as bytes, and is called otherwise."""

    def __init__(self, path: str | bytes) -> None:
        self._path = path

    def __fspath__(self) -> str | bytes:
        return self._path


@pytest.mark.slow
@pytest.mark.parametrize("kind", [str, Path, Place, lambda path: Place(os.fsencode(path))])
def test_a_place_is_what_it_says_its_path_is(kind: Any, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a cat\n")
    run = darkroom.generate(kind(str(tmp_path / "p.txt")), out=kind(str(tmp_path / "run")), **PAINT)
    assert run.uri == str(tmp_path / "run")
    assert darkroom.open_run(kind(run.uri)).uri == run.uri
    darkroom.report(kind(run.uri), out=kind(str(tmp_path / "report")))
    assert (tmp_path / "report" / "index.html").exists()


def test_an_entry_of_a_folder_is_a_place(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a cat\n")
    with os.scandir(tmp_path) as entries:
        [entry] = entries
    assert darkroom.plan(entry, **PAINT).num_images == 1


def test_weights_of_extractors_are_places_too(tmp_path: Path) -> None:
    given = [{"name": "clip", "source": Place(str(tmp_path))}]
    [spec] = extractor_specs(given, "cpu")
    assert spec.source == str(tmp_path)
    assert stored_options(EvaluationOptions(extractors=given))["extractors"] == [
        {"name": "clip", "source": str(tmp_path)}
    ]


@pytest.mark.parametrize("value", ["many", 0.5, [1]])
def test_values_of_extractors_are_checked(value: Any) -> None:
    with pytest.raises(DarkroomError, match=r"^extractors: batch_size=.*: give a whole number"):
        extractor_specs([{"name": "clip", "batch_size": value}], "cpu")


def test_a_null_character_is_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(DarkroomError, match=r"^out='.*\\x00': no address has a null character"):
        darkroom.generate(["a"], out=f"{tmp_path}/\0", **PAINT)


def test_a_callback_that_would_never_run_is_refused() -> None:
    async def told(_: Any) -> None: ...

    with pytest.raises(DarkroomError, match=r"progress=<function .*: give a function"):
        darkroom.plan(["a cat"], progress=told, **PAINT)


def test_a_working_folder_that_was_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(DarkroomError, match="the working folder was removed; go to one that is there"):
        darkroom.generate(["a cat"], out="run", **PAINT)
