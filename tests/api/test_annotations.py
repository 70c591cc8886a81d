"""Arguments of calls and fields of options: values of numpy and pandas are what they mean, wherever they are given."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import darkroom
from darkroom.api.annotations import checked_kind
from darkroom.api.arguments import evaluation_options, model_ref
from darkroom.api.evaluation_options import Expectation
from darkroom.api.options import EngineOptions
from darkroom.domain.errors import DarkroomError
from darkroom.domain.setting_values import with_settings
from darkroom.domain.settings import ModelRef, Value

Count = Annotated[int, 1]


@pytest.mark.parametrize(
    ("given", "hint", "wanted"),
    [
        (np.int64(3), int, 3),
        (np.int64(3), Count | None, 3),
        (np.float32(0.5), float, 0.5),
        (Decimal("0.5"), float, 0.5),
        (np.True_, bool, True),
        (np.True_, Value, True),
        (np.int64(3), Value, 3),
        (np.str_("a"), str, "a"),
        (np.array(["a", "b"]), Sequence[str], ["a", "b"]),
        (pd.Series([1.5, 2.0]), Sequence[Value], [1.5, 2.0]),
        (pa.array(["a"]), Sequence[str], ["a"]),
        ((np.int64(1),), Sequence[int], (1,)),
        ({"a": np.arange(2)}, Mapping[str, Sequence[Value]], {"a": [0, 1]}),
    ],
)
def test_values_of_other_libraries_become_pythons_own(given: Any, hint: Any, wanted: Any) -> None:
    found = checked_kind("x", given, hint)
    assert (found, repr(found)) == (wanted, repr(wanted))


@pytest.mark.parametrize(
    ("given", "hint", "words"),
    [
        (np.int64(0), Count, r"x=0: give a whole number from 1 on"),
        (np.float64(2.5), int, r"x=2\.5: give a whole number"),
        (np.True_, int, "x=True: give a whole number"),
        (np.int64(1), bool, "x=1: give True or False"),
        (np.array([1, 2]), Sequence[str], r"x\[0\]=1: give a text"),
        (np.array("a"), Sequence[str], "x='a': give a list"),
    ],
)
def test_and_are_refused_as_pythons_own_are(given: Any, hint: Any, words: str) -> None:
    with pytest.raises(DarkroomError, match=words):
        checked_kind("x", given, hint)


def test_options_and_settings_take_them_alike() -> None:
    options = EngineOptions(batch_size=np.int64(4), compile=np.True_, batch_timeout_s=np.float32(2))
    assert (options.batch_size, options.compile, options.batch_timeout_s) == (4, True, 2.0)
    assert type(options.batch_size) is int
    assert EngineOptions(batch_size=np.str_("auto")).batch_size == "auto"
    assert Expectation("a.b", lowest=np.float64(1)).lowest == 1.0
    assert evaluation_options({"seed": np.int64(3), "metrics": np.array(["clip_score"])}).metrics == ["clip_score"]
    ref, sampling = with_settings(ModelRef("m"), {}, {"trust_remote_code": np.True_, "seed": np.uint8(3)})
    assert (ref.trust_remote_code, sampling) == (True, {"seed": 3})
    given = ModelRef(Path("m"), trust_remote_code=np.False_)  # type: ignore[arg-type]
    assert with_settings(model_ref(given), {}, {})[0] == ModelRef("m")


@pytest.mark.parametrize("size", [True, np.True_, 2.5, np.float64(2.5), 0, np.int64(5000), [4]])
def test_a_number_or_a_word_is_neither(size: Any) -> None:
    with pytest.raises(DarkroomError, match=r"batch_size=.* give a whole number from 1 to 4096, or auto"):
        EngineOptions(batch_size=size)


@pytest.mark.slow
def test_a_run_of_a_template_with_them_is_that_of_pythons_own(tmp_path: Path) -> None:
    slots = {"x": np.array(["1", "2"])}
    odd = darkroom.template("a {x}", slots, mode="random", num_prompts=np.int64(2), seed=np.int64(3))
    plain = darkroom.template("a {x}", {"x": ["1", "2"]}, mode="random", num_prompts=2, seed=3)
    runs = [
        darkroom.generate(prompts, model="paint", out=tmp_path / "run", height=16, width=16, evaluate=np.False_)
        for prompts in (odd, plain)
    ]
    assert runs[0].info == runs[1].info
    assert runs[0].table("prompt").num_rows == 2


@pytest.mark.slow
def test_axes_of_numpy_are_those_of_python(tmp_path: Path) -> None:
    axes = [{"guidance_scale": values, "height": [16]} for values in (np.array([1.0, 2.0]), [1.0, 2.0])]
    runs = [
        darkroom.sweep(["a"], model="paint", out=tmp_path / "run", width=16, axes=each, num_cells=1, exclude=exclude)
        for each, exclude in zip(
            axes, ([{"guidance_scale": np.array([1.0])}], [{"guidance_scale": [1.0]}]), strict=True
        )
    ]
    assert list(runs[0].cells) == list(runs[1].cells)
    [info] = runs[0].cells.values()
    assert info.cell.sampling.guidance_scale == 2.0
