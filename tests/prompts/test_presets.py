"""Known benchmarks and tables: each is read as its makers write it."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from darkroom.conf import schema
from darkroom.prompts.opening import open_prompts
from darkroom.prompts.presets import PRESETS
from tests.prompts.reading import BENCHMARKS, extras, prompts, refused, rows, write

CAPTIONS = {
    "images": [{"id": 9, "file_name": "9.jpg", "height": 48, "width": 64}, {"id": 2, "file_name": "2.jpg"}],
    "annotations": [
        {"id": 5, "image_id": 9, "caption": "another of nine"},
        {"id": 4, "image_id": 9, "caption": " nine\n"},
        {"id": 7, "image_id": 2, "caption": "two"},
    ],
}


def test_cocos_captions_are_one_an_image(tmp_path: Path) -> None:
    dataset = open_prompts(write(tmp_path / "captions_val2017.json", json.dumps(CAPTIONS)), preset="coco")
    assert prompts(dataset) == ["two", "nine"]
    assert extras(dataset)[1] == {
        "caption_id": 4, "source_image_id": 9, "file_name": "9.jpg", "source_height": 48, "source_width": 64,
    }  # fmt: skip
    assert "needed captions_val2017.json" in refused(write(tmp_path / "x.json", "[]"), preset="coco")


@pytest.mark.parametrize(
    ("preset", "columns"),
    [
        ("coco", {"caption": ["a cat"], "height": [427], "width": [640]}),
        ("coco", {"caption": ["a cat"], "image": [b"a photograph"], "height": [427], "width": [640]}),
        ("laion", {"URL": ["u"], "TEXT": ["a cat"], "HEIGHT": [427], "WIDTH": [640]}),
        ("laion", {"url": ["u"], "caption": ["a cat"], "height": [427], "width": [640]}),
        ("img2dataset", {"key": ["0"], "caption": ["a cat"], "image": ["0.jpg"], "height": [427], "width": [640]}),
    ],
)
def test_photographs_and_their_sizes_are_carried_and_not_read(
    tmp_path: Path, preset: str, columns: dict[str, list[object]]
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    dataset = open_prompts(tmp_path / "t.parquet", preset=preset)
    (row,) = rows(dataset)
    assert (row.prompt, row.overrides) == ("a cat", ())
    assert not any("is not read as" in warning for warning in dataset.scan(1).warnings)
    assert sorted({427, 640} & set(extras(dataset)[0].values())) == [427, 640]


def test_a_column_that_the_command_names_wins(tmp_path: Path) -> None:
    pq.write_table(pa.table({"TEXT": ["a"], "better": ["b"], "height": [64]}), tmp_path / "t.parquet")
    dataset = open_prompts(tmp_path / "t.parquet", columns={"prompt": "better", "height": "height"}, preset="laion")
    (row,) = rows(dataset)
    assert (row.prompt, row.overrides) == ("b", (("height", 64),))
    assert "no column 'top_caption'" in refused(write(tmp_path / "t.csv", "prompts\na\n"), preset="laion")


def test_benchmarks_have_their_categories(tmp_path: Path) -> None:
    parti = open_prompts(
        write(tmp_path / "p.tsv", "Prompt\tCategory\tChallenge\nbond\tAbstract\tBasic\n"), preset="parti"
    )
    assert (prompts(parti), extras(parti)) == (["bond"], [{"Category": "Abstract", "Challenge": "Basic"}])
    line = {"tag": "counting", "include": [{"class": "cat", "count": 2}], "prompt": "a photo of two cats"}
    geneval = open_prompts(write(tmp_path / "g.jsonl", json.dumps(line)), preset="geneval")
    assert extras(geneval) == [{"tag": "counting", "include": [{"class": "cat", "count": 2}]}]
    for name in ("color_val", "shape_val", "color_train", "color_val_seen"):
        write(tmp_path / f"{name}.txt", f"{name} 1\n{name} 2\n")
    compbench = open_prompts(tmp_path, preset="t2i_compbench")
    assert [row["category"] for row in extras(compbench)] == ["color", "color", "shape", "shape"]
    drawbench = open_prompts(write(tmp_path / "d.csv", 'Prompts,Category\n"A red car.",Colors\n'), preset="drawbench")
    assert (prompts(drawbench), extras(drawbench)) == (["A red car."], [{"Category": "Colors"}])


@pytest.mark.skipif(not BENCHMARKS.exists(), reason="the benchmarks are not part of this repository")
@pytest.mark.parametrize(
    ("preset", "file", "num_rows"),
    [
        ("parti", "PartiPrompts.tsv", 1632),
        ("geneval", "geneval_evaluation_metadata.jsonl", 553),
        ("dpg", "dpg_bench_prompts.jsonl", 1065),
    ],
)
def test_benchmarks_as_they_are_published(preset: str, file: str, num_rows: int) -> None:
    found = open_prompts(BENCHMARKS / file, preset=preset).scan(1)
    assert found.num_rows == num_rows
    assert not any("not the file as it is known" in warning for warning in found.warnings)


def test_of_dpgs_questions_each_text_is_one_row_as_in_its_folder(tmp_path: Path) -> None:
    questions = 'item_id,text,proposition_id\nb,"one, two",1\nb,"one, two",2\na,three,1\n'
    (tmp_path / "prompts").mkdir()
    for name, text in (("b", "one, two"), ("a", "three")):
        write(tmp_path / "prompts" / f"{name}.txt", text)
    table = open_prompts(write(tmp_path / "dpg_bench.csv", questions), preset="dpg")
    folder = open_prompts(tmp_path / "prompts", preset="dpg")
    assert prompts(table) == ["one, two", "three"]
    found = [dict(zip(prompts(each), extras(each), strict=True)) for each in (table, folder)]
    assert found[0] == found[1] == {"one, two": {"item_id": "b"}, "three": {"item_id": "a"}}
    lines = write(tmp_path / "p.jsonl", '{"id": "7", "prompt": "four"}')  # as others hand them on
    assert prompts(open_prompts(lines, preset="dpg")) == ["four"]


def test_another_file_than_the_known_one_is_told(tmp_path: Path) -> None:
    file = write(tmp_path / "PartiPrompts.tsv", "Prompt\tCategory\nbond\tAbstract\n")
    (warning,) = open_prompts(file, preset="parti").scan(1).warnings
    assert "PartiPrompts.tsv: not the file as it is known from https://raw.githubusercontent.com" in warning


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_where_its_file_comes_from(name: str, tmp_path: Path) -> None:
    said = refused(tmp_path / "nothing.csv", preset=name)
    assert f"prompts=preset.{name}: get it from {PRESETS[name].address}" in said
    assert "there are coco, laion" in refused("x.csv", preset="nothing")


def test_every_preset_is_a_choice_of_the_group() -> None:
    files = (Path(schema.__file__).parent / "prompts").glob("preset.*.yaml")
    found = {file.stem.removeprefix("preset."): yaml.safe_load(file.read_text()) for file in files}
    assert {name: (each["preset"], each.get("uri")) for name, each in found.items()} == {
        name: (name, preset.uri) for name, preset in PRESETS.items()
    }
