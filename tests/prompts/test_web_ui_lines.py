"""Lines of AUTOMATIC1111's script: flags as settings, comments, choices, and what is refused by its name."""

from pathlib import Path
from typing import Any

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import PromptRow
from darkroom.prompts.formats import open_as
from darkroom.prompts.reading import Reading
from tests.prompts.reading import extras, rows, write


def read(folder: Path, text: str, **options: Any) -> list[PromptRow]:
    keys = {name: options.pop(name) for name in ("on_invalid", "columns") if name in options}
    return rows(open_as(write(folder / "lines.txt", text), Reading("a1111", **options), **keys))


def test_flags_are_settings_and_comments_no_prompts(tmp_path: Path) -> None:
    text = (
        "# a comment\n\n"
        '--prompt "a red circle" --negative_prompt blurry, low quality --steps 10 --cfg_scale 7.5 --seed 5 '
        '--width 64 --height 32 --sampler_name "DPM++ 2M Karras" --n_iter 2 --batch_size 3\n'
        "a dog's life -- or more\n"
        "--prompt two words --seed -1 --subseed 4 --restore_faces false\n"
    )
    first, second, third = read(tmp_path, text)
    assert dict(first.overrides) == {
        "negative_prompt": "blurry, low quality",
        "num_inference_steps": 10,
        "guidance_scale": 7.5,
        "seed": 5,
        "width": 64,
        "height": 32,
        "scheduler": "dpmpp_2m_karras",
        "num_images_per_prompt": 6,
    }
    assert [first.prompt, second.prompt, third.prompt] == ["a red circle", "a dog's life -- or more", "two words"]
    assert not second.overrides
    assert not third.overrides


@pytest.mark.parametrize(
    ("words", "prompt"),
    [
        ("'it is \"so\"' and so", 'it is "so" and so'),
        ('a"b c"d', "ab cd"),
        (r'"a \"quoted\" word"', 'a "quoted" word'),
        ("a\u00a0b\tc", "a\u00a0b c"),
    ],
)
def test_words_are_split_as_a_shell_splits_them(tmp_path: Path, words: str, prompt: str) -> None:
    [row] = read(tmp_path, f"--prompt {words} --steps 3")
    assert (row.prompt, dict(row.overrides)) == (prompt, {"num_inference_steps": 3})


def test_a_line_with_choices_is_a_row_a_draw(tmp_path: Path) -> None:
    (tmp_path / "wild").mkdir()
    write(tmp_path / "wild" / "pets.txt", "# animals\ncat\n\n{big|small} dog\n")
    write(tmp_path / "wild" / "more.yaml", "colours:\n  warm: [red, orange]\n")
    text = '--prompt "a __pets__" --seed 5 --n_iter 3\na __colours/*__ (circle:1.2)\n'
    options: Any = {"wildcards": str(tmp_path / "wild"), "num_draws": 2}
    found = read(tmp_path, text, **options)
    assert [dict(row.overrides).get("seed") for row in found] == [5, 6, 7, None, None]
    assert {row.prompt for row in found[:3]} <= {"a cat", "a big dog", "a small dog"}
    assert {row.prompt for row in found[3:]} <= {"a red (circle:1.2)", "a orange (circle:1.2)"}
    assert [dict(row.overrides).get("prompt_syntax") for row in found[2:4]] == [None, "a1111"]
    assert found == read(tmp_path, text, **options)
    assert found[2:] == rows(open_as(str(tmp_path / "lines.txt"), Reading("a1111", **options)), start=2)
    assert found != read(tmp_path, text, **options, draw_seed=1)


def test_a_changed_list_makes_other_prompts(tmp_path: Path) -> None:
    reading = Reading("a1111", wildcards=str(tmp_path / "wild"))
    (tmp_path / "wild").mkdir()
    fingerprints = set()
    for text in ("cat\n", "dog\n"):
        write(tmp_path / "wild" / "pets.txt", text)
        fingerprints.add(open_as(write(tmp_path / "l.txt", "a __pets__"), reading).scan(1).fingerprint)
    assert len(fingerprints) == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a red circle --steps 10", "--steps follows a prompt without a flag"),
        ('--prompt "a', "No closing quotation"),
        ("--prompt a --sd_model x", r"prompts.ignored=\[sd_model\]"),
        ("--prompt a --subseed_strength 0.5", "--subseed_strength '0.5' is no setting here"),
        ("--prompt a --stesp 3", "no flag '--stesp'; did you mean --steps"),
        ("--steps 3", "no --prompt"),
        ("--prompt a --steps", "--steps has no value"),
        ("--prompt a --width 64 b", "'b' follows the value of a flag"),
        ("--prompt a --steps ten", "column 'num_inference_steps' has 1 not a number row: 'ten'"),
        ("--prompt a --n_iter lots", "--n_iter 'lots': needed a whole number"),
        ("--prompt a --scheduler karras", "give both, or neither"),
        ("a {red|blue", "never closed"),
        ("a __pet__", "set prompts.wildcards"),
    ],
)
def test_a_line_that_is_not_read_is_named(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(DarkroomError, match=said.replace("has 1 not a number row", "has 1 not a number row.*")):
        read(tmp_path, f"a red circle\n{line}\n")
    found = read(tmp_path, f"a red circle\n{line}\n", on_invalid="record")
    assert [bool(row.error) for row in found] == [False, True]


def test_ignored_flags_are_carried_as_columns_and_said(tmp_path: Path) -> None:
    file = write(tmp_path / "l.txt", "--prompt a --sd_model x\nb\n")
    dataset = open_as(file, Reading("a1111", ignored=("sd_model",)))
    assert [row["sd_model"] for row in extras(dataset)] == ["x", None]
    assert "sd_model are carried as columns" in dataset.scan(1).warnings[0]


@pytest.mark.parametrize(
    ("reading", "said"),
    [
        (Reading("openai_batch", num_draws=3), "num_draws: it does nothing without prompts.format=a1111"),
        (Reading("a1111", ignored=("sd_modle",)), "did you mean sd_model"),
        (Reading("a1111", wildcards="nowhere"), "no such folder"),
    ],
)
def test_what_does_nothing_is_refused(tmp_path: Path, reading: Reading, said: str) -> None:
    with pytest.raises(DarkroomError, match=said):
        open_as(write(tmp_path / "l.txt", "__a__"), reading).scan(1)
    with pytest.raises(DarkroomError, match=r"end in \.txt"):
        open_as(write(tmp_path / "l.csv", "prompt\na"), Reading("a1111"))
