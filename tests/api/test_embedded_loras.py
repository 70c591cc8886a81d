"""LoRAs that come with the package are named without a path, in every place where a user's own are."""

from dataclasses import replace
from pathlib import Path

import pytest

from darkroom.api.models import find_model, located
from darkroom.api.parts import parts_of
from darkroom.demo import LORAS
from darkroom.domain.adapters import LoraRef
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import Cell
from darkroom.domain.settings import ModelRef, Sampling
from darkroom.runs.cells import CellInfo

REF = ModelRef("darkroom/demo", loras=tuple(LoraRef(f"darkroom/{style}", 0.5) for style in LORAS))


def test_they_are_found_by_their_styles_names() -> None:
    identity = find_model(located(REF), "cpu").identity
    assert identity.repo_id == "darkroom/demo"
    assert [(part.name, part.weight) for part in identity.loras] == [(style, 0.5) for style in LORAS]


def test_they_are_what_their_files_are() -> None:
    by_path = replace(REF, loras=tuple(LoraRef(str(file), 0.5) for file in LORAS.values()))
    assert find_model(by_path, "cpu").identity == find_model(REF, "cpu").identity


def test_their_name_stays_in_a_run_and_is_found_again() -> None:
    model = find_model(located(REF), "cpu")
    assert located(REF).loras == REF.loras
    info = CellInfo(located(REF), Cell(model.identity, Sampling("default", 5.0, 20, 64, 64)))
    assert [file.path for file in parts_of(info, ())] == [str(file) for file in LORAS.values()]


def test_no_folder_of_that_name_is_taken_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    style = next(iter(LORAS))
    (tmp_path / "darkroom" / style).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert located(REF).loras == REF.loras


def test_an_unknown_one_is_refused_with_the_nearest() -> None:
    with pytest.raises(DarkroomError, match="did you mean darkroom/sketch") as caught:
        find_model(replace(REF, loras=(LoraRef("darkroom/skech"),)), "cpu")
    assert "\n" not in str(caught.value)


def test_a_slash_behind_the_name_is_no_other_name() -> None:
    slashed = replace(REF, loras=tuple(LoraRef(f"darkroom/{style}/", 0.5) for style in LORAS))
    assert located(slashed) == located(REF)
    assert find_model(slashed, "cpu").identity == find_model(REF, "cpu").identity


def test_one_that_is_given_twice_is_called_as_it_was() -> None:
    twice = replace(REF, loras=(LoraRef("darkroom/sketch"), LoraRef("darkroom/sketch/", name="again")))
    with pytest.raises(DarkroomError, match=r"^model\.loras: darkroom/sketch and darkroom/sketch are one file"):
        find_model(twice, "cpu")
