"""The table of settings says all that is derived from it."""

import ast
import math
import os
import shutil
import subprocess
import sys
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path

import pytest

import darkroom
from darkroom.domain.identity import ModelIdentity
from darkroom.domain.records import RECORD_COLUMNS, ROW_COLUMNS
from darkroom.domain.settings import (
    EXECUTION,
    IMAGE_SETTINGS,
    LOSSY_OF_MODEL,
    NEUTRAL_LOSSY,
    ROW_SETTINGS,
    SETTINGS,
    ModelRef,
    Range,
    Sampling,
    settings_of,
)

SAMPLING = Sampling("ddim", 5.0, 20, 64, 64)


def test_every_field_is_a_setting_with_a_sentence_and_a_plain_type() -> None:
    for table in (Sampling, ModelRef):
        settings = settings_of(table)
        assert [each.name for each in settings] == [field.name for field in fields(table)]
        assert all(each.help.endswith(".") for each in settings)
        assert all(each.kind in (str, int, float, bool) or is_dataclass(each.kind) for each in settings)
    assert len(SETTINGS) == len(settings_of(Sampling)) + len(settings_of(ModelRef))


def test_numbers_have_ranges_that_hold_their_defaults_and_neutral_values() -> None:
    for each in SETTINGS.values():
        assert (each.allowed is not None) == (each.kind in (int, float)), each.name
        values = [value for value in (each.default, each.neutral) if value not in (None, MISSING)]
        assert all(value in each.allowed for value in values if each.allowed), each.name


def test_what_trades_quality_has_a_value_at_which_it_does_not() -> None:
    assert all(each.has_neutral for each in SETTINGS.values() if each.lossy)
    freeu = {f"freeu_{name}" for name in ("s1", "s2", "b1", "b2")}
    assert set(NEUTRAL_LOSSY) == {"guidance_start", "guidance_stop", "cache", "cache_interval", *freeu}
    assert {each.name for each in LOSSY_OF_MODEL} <= {field.name for field in fields(ModelIdentity)}


def test_how_a_model_is_held_is_no_axis_and_no_part_of_its_identity() -> None:
    assert [each.name for each in EXECUTION] == ["vae_slicing", "offload"]
    assert not any(each.axis or hasattr(ModelIdentity, each.name) for each in EXECUTION)


def test_a_setting_at_its_neutral_value_is_as_if_it_were_not_there() -> None:
    assert set(SAMPLING.effective) == {
        "scheduler", "guidance_scale", "num_inference_steps", "height", "width", "negative_prompt",
    }  # fmt: skip
    assert replace(SAMPLING, cache_interval=2, seed=3).effective == {
        **SAMPLING.effective,
        "cache_interval": 2,
        "seed": 3,
    }
    assert replace(SAMPLING, cache_interval=2, seed=3).lossy == {"cache_interval": 2}


def test_columns_of_rows_and_of_records_are_those_of_the_table() -> None:
    assert {"prompt_id": str, **{each.name: each.kind for each in ROW_SETTINGS}} == ROW_COLUMNS
    assert {"prompt_id", "prompt", "seed", *(each.name for each in IMAGE_SETTINGS)} <= set(RECORD_COLUMNS)
    assert "num_images_per_prompt" not in RECORD_COLUMNS
    assert len(set(RECORD_COLUMNS)) == len(RECORD_COLUMNS)


@pytest.mark.parametrize(
    ("value", "is_in"), [(8, True), (16, True), (12, False), (0, False), (72, False), (math.nan, False)]
)
def test_a_range_holds_the_multiples_in_it(value: float, is_in: bool) -> None:
    assert (value in Range(8, 64, 8)) is is_in
    assert str(Range(8, 64, 8)) == "a multiple of 8 from 8 to 64"


@pytest.mark.parametrize(("value", "is_in"), [(0, True), (0.5, True), (1, True), (1.01, False), (math.inf, False)])
def test_a_range_of_any_numbers_holds_its_ends(value: float, is_in: bool) -> None:
    assert (value in Range(0, 1)) is is_in


_FIELDS = """    caption: str | None = setting(None, neutral=None, row=True, help="A text or nothing.")
    invert: bool = setting(False, neutral=False, row=True, help="A truth value.")
    tint: str = setting("none", neutral="none", choices=("none", "red"), row=True, help="A choice.")
    note: str | None = setting(None, neutral=None, help="Of cells alone.")
"""
_WORK = """
import darkroom

keys = {"height": 16, "width": 16}
rows = [{"prompt": "a", "caption": "b", "invert": True, "tint": "red"}, {"prompt": "c"}]
run = darkroom.generate(rows, model="paint", out="rows", note="n", **keys)
print(run.table(["caption", "invert", "tint", "note"]).to_pylist())
axes = {"invert": [True, False], "caption": [None, "z"]}
print(len(darkroom.sweep(["a"], model="paint", out="sweep", axes=axes, **keys).cells))
try:
    darkroom.generate([{"prompt": "a", "tint": "green"}], model="paint", out="wrong", **keys)
except darkroom.DarkroomError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_new_setting_needs_nothing_but_the_table(tmp_path: Path) -> None:
    package = Path(shutil.copytree(Path(darkroom.__file__).parent, tmp_path / "darkroom"))
    table = package / "domain" / "settings.py"
    before = "    num_images_per_prompt: int | None = setting("
    table.write_text(table.read_text("utf-8").replace(before, _FIELDS + before, 1), "utf-8")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _WORK], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows, num_cells, refusal = done.stdout.splitlines()
    assert ast.literal_eval(rows) == [
        {"caption": "b", "invert": True, "tint": "red", "note": "n"},
        {"caption": None, "invert": False, "tint": "none", "note": "n"},
    ]
    assert num_cells == "4"
    assert "column 'tint' has 1 not a choice row, needed none, red, first at row 0: 'green'" in refusal
