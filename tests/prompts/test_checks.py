"""Columns of settings of every kind, as a table of settings declares them; a cell means the same in every column."""

from dataclasses import dataclass

import pyarrow as pa
import pytest

from darkroom.domain.settings import Setting, setting, settings_of
from darkroom.prompts.checks import read_setting
from darkroom.prompts.sources import Fault
from tests.prompts.reading import open_prompts, refused, rows, write


@dataclass(frozen=True)
class Scratch:
    """Settings of kinds that the real table may have one day."""

    caption: str | None = setting(None, neutral=None, row=True, help="A text or nothing.")
    invert: bool = setting(False, neutral=False, row=True, help="A truth value.")
    tint: str = setting("none", neutral="none", choices=("none", "red"), row=True, help="A choice.")
    weight: float | None = setting(None, neutral=None, row=True, low=0, high=1, help="A number or nothing.")


SCRATCH: dict[str, Setting] = {each.name: each for each in settings_of(Scratch)}


def read(name: str, cells: pa.Array) -> tuple[list[object], dict[int, Fault]]:
    faults: dict[int, Fault] = {}
    return read_setting(SCRATCH[name], cells, faults).to_pylist(), faults


@pytest.mark.parametrize(
    ("name", "cells", "wanted"),
    [
        ("caption", ["a", "", None], ["a", "", None]),
        ("invert", ["true", "False", "TRUE", "", None], [True, False, True, None, None]),
        ("invert", [b"True", b"false"], [True, False]),
        ("invert", [True, None, False], [True, None, False]),
        ("invert", pa.nulls(1), [None]),
        ("tint", ["red", "", None, "none"], ["red", None, None, "none"]),
        ("weight", ["0.5", "", None], [0.5, None, None]),
    ],
)
def test_every_kind_of_setting_is_read(name: str, cells: list, wanted: list) -> None:
    assert read(name, pa.array(cells) if isinstance(cells, list) else cells) == (wanted, {})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("invert", "yes", "column 'invert' is not a choice (needed: true, false): 'yes'"),
        ("invert", "1", "column 'invert' is not a choice (needed: true, false): '1'"),
        ("tint", "green", "column 'tint' is not a choice (needed: none, red): 'green'"),
        ("weight", "2", "column 'weight' is out of range (needed: from 0 to 1): '2'"),
    ],
)
def test_what_is_none_of_a_settings_values_is_its_rows_fault(name: str, value: str, said: str) -> None:
    found, faults = read(name, pa.array([None, value]))
    assert found == [None, None]
    assert {row: str(fault) for row, fault in faults.items()} == {1: said}


@pytest.mark.parametrize("text", ["1_0", "١", "1\u00a0", "0x1p3", "1d", "1,5", "1e", "--5", "+-5"])
def test_a_text_that_no_table_reader_takes_is_no_number(tmp_path, text: str) -> None:
    for name in ("seed", "guidance_scale"):
        file = write(tmp_path / "p.csv", f'prompt,{name}\na,x\nb,"{text}"\n')
        assert f"column '{name}' has 2 not a number rows" in refused(file)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("20.0", 20), (" 5", 5), ("+7", 7), ("1e3", 1000), ("0x10", 16), ("9007199254740993.0", 9007199254740993)],
)
def test_a_cell_means_the_same_whatever_others_its_column_has(tmp_path, text: str, wanted: int) -> None:
    for other in ("3", "3.0"):
        [first, _] = rows(open_prompts(write(tmp_path / "p.csv", f"prompt,seed\na,{text}\nb,{other}\n")))
        assert dict(first.overrides) == {"seed": wanted}


@pytest.mark.parametrize(("text", "kind"), [("infinity", "not a whole number"), ("1e400", "not a whole number")])
def test_endless_numbers_are_in_no_range(tmp_path, text: str, kind: str) -> None:
    assert kind in refused(write(tmp_path / "p.csv", f"prompt,seed\na,{text}\n"))
    assert "out of range" in refused(write(tmp_path / "p.csv", f"prompt,guidance_scale\na,{text}\n"))
