"""Figures follow the images: what was damaged, repaired, rendered again or committed meanwhile."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from darkroom.api.engine import started
from darkroom.api.evaluation import check_evaluation
from darkroom.api.evaluation_options import EvaluationOptions
from darkroom.api.events import silent
from darkroom.api.measuring import extract_for, measure
from darkroom.api.options import EngineOptions
from darkroom.api.run import open_run
from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.figures import Figure, read_evaluations
from darkroom.runs import manifest
from darkroom.runs.features import from_bytes
from darkroom.runs.files import manifest_key
from darkroom.runs.layouts import LAYOUTS
from darkroom.runs.reading import records
from darkroom.storage.store import Store, open_store, parse_spec
from tests.jobs.helpers import PAINT, run_here

NUM_PROMPTS = 8
SCORER = """
import numpy as np
from darkroom.evaluation.extractor import ExtractorInfo


class Choosy:
    info = ExtractorInfo("choosy", "none", "none", 1, is_scorer=True)

    def scores(self, pictures, captions):
        if any(caption.endswith("3") for caption in captions):
            raise RuntimeError("out of luck")
        return np.array([picture.mean() for picture in pictures], np.float32)


def make(spec):
    return Choosy()
"""


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"a red circle {number}\n" for number in range(NUM_PROMPTS)))
    output = f"output.uri={tmp_path / 'run'}"
    return [*PAINT, "prompts=file", f"prompts.uri={prompts}", output, "engine.shard_size=4"]


def store_at(folder: Path) -> Store:
    return open_store(parse_spec(str(folder / "run")))


def evaluated(folder: Path, *overrides: str) -> int:
    return run_here("evaluate", f"run={folder / 'run'}", "engine=local", *overrides)


def figure(folder: Path, name: str = "demo_clip.clip_score") -> Figure:
    (figures,) = read_evaluations(store_at(folder))[-1].cells.values()
    return figures[name]


def damage(data: bytes) -> bytes:
    """Other bytes in a PNG, which may lie in a container, or in the middle of what holds none."""
    middle = data.find(b"IDAT") + 4 if b"IDAT" in data else len(data) // 2
    return data[:middle] + bytes(byte ^ 255 for byte in data[middle : middle + 8]) + data[middle + 8 :]


def cut(data: bytes) -> bytes:
    return data[:40]


def emptied(_data: bytes) -> bytes:
    return b""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "spoil"),
    [
        *((layout, damage) for layout in LAYOUTS),
        ("files", cut),
        ("webdataset", emptied),
        ("files", None),
        ("parquet", None),
    ],
)
def test_damaged_images_are_named_and_not_scored_and_repaired_ones_are(
    arguments, tmp_path: Path, capsys, layout: str, spoil: Callable[[bytes], bytes] | None
) -> None:
    assert run_here("generate", *arguments, f"output.layout={layout}") == 0
    shutil.copytree(tmp_path / "run", tmp_path / "clean" / "run")
    first = tmp_path / "run" / str(next(iter(records(store_at(tmp_path)))).key)
    if spoil:
        first.write_bytes(spoil(first.read_bytes()))
    else:
        first.unlink()
    capsys.readouterr()
    assert evaluated(tmp_path) == 1
    said = capsys.readouterr().out
    assert f"({first}): its " in said
    assert "darkroom repair" in said
    left = NUM_PROMPTS - figure(tmp_path).num_images
    assert 1 <= left <= (1 if layout == "files" else 4)
    assert f"{left} images have no features" in said
    assert any(f"{left} of {NUM_PROMPTS} images are left out" in line for line in figure(tmp_path).warnings)
    assert any("darkroom repair run=" in line and "brings it back" in line for line in figure(tmp_path).warnings)
    assert (evaluated(tmp_path), evaluated(tmp_path / "clean")) == (1, 0)
    capsys.readouterr()
    assert run_here("compare", f"a={tmp_path / 'run'}", f"b={tmp_path / 'clean' / 'run'}", "tolerance=1") == 0
    said = capsys.readouterr().out
    assert f"note:   a: {left} of {NUM_PROMPTS} images are left out" in said
    assert f"pairs:  {NUM_PROMPTS - left}, of {NUM_PROMPTS - left} images in a and {NUM_PROMPTS} in b" in said
    assert run_here("repair", f"run={tmp_path / 'run'}") == 0
    assert evaluated(tmp_path) == 0
    assert figure(tmp_path) == figure(tmp_path / "clean")


@pytest.mark.slow
def test_a_cell_of_which_no_image_can_be_scored_leaves_the_others_their_figures(
    arguments, tmp_path: Path, capsys
) -> None:
    assert run_here("sweep", *arguments, "grid.axes.guidance_scale=[1,3]") == 0
    store = store_at(tmp_path)
    broken, whole = sorted({record.cell_id for record in records(store)})
    for record in records(store):
        if record.cell_id == broken:
            store.put(str(record.key), b"hello")
    assert evaluated(tmp_path, "metrics=[demo_clip.clip_score]") == 1
    cells = read_evaluations(store)[-1].cells
    assert cells[whole]["demo_clip.clip_score"].num_images == NUM_PROMPTS
    assert np.isnan(cells[broken]["demo_clip.clip_score"].value)
    assert any("left out" in line for line in cells[broken]["demo_clip.clip_score"].warnings)


@pytest.mark.slow
def test_a_cell_with_too_few_images_for_a_figure_leaves_the_others_theirs(arguments, tmp_path: Path) -> None:
    assert run_here("sweep", *arguments, "engine.shard_size=1", "grid.axes.guidance_scale=[1,3]") == 0
    store, named = store_at(tmp_path), "metrics=[demo_clip.clip_score]"
    small, whole = sorted({name.cell_id for name in manifest.committed(store)})
    store.delete([manifest_key(name) for name in manifest.committed(store, small)][1:])
    assert evaluated(tmp_path, named) == 0
    cells = read_evaluations(store)[-1].cells
    assert cells[whole]["demo_clip.clip_score"].num_images == NUM_PROMPTS
    assert "1 image(s) are too few" in cells[small]["demo_clip.clip_score"].warnings[0]
    store.delete([manifest_key(name) for name in manifest.committed(store, whole)])
    with pytest.raises(DarkroomError, match=r"demo_clip.clip_score: 1 image\(s\) are too few"):
        evaluated(tmp_path, named)


@pytest.mark.slow
def test_a_scorer_that_fails_on_one_picture_costs_that_score_until_its_code_changes(
    arguments, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "choosy_one.py").write_text(SCORER)
    inline = ["evaluate=inline", "evaluation.extractors=['choosy_one:make']"]
    assert run_here("generate", *arguments, *inline) == 1
    said = capsys.readouterr().out
    assert f"{NUM_PROMPTS} images rendered" in said
    assert "attempt" not in said
    assert "RuntimeError: out of luck" in said
    assert figure(tmp_path, "choosy.score").num_images == NUM_PROMPTS - 1
    assert evaluated(tmp_path, "extractors=['choosy_one:make']") == 1
    assert "lack features" not in capsys.readouterr().out  # it is not tried again
    (tmp_path / "choosy_two.py").write_text(SCORER.replace('endswith("3")', 'endswith("none")'))
    assert evaluated(tmp_path, "extractors=['choosy_two:make']") == 0
    assert figure(tmp_path, "choosy.score").num_images == NUM_PROMPTS


@pytest.mark.slow
def test_an_evaluation_is_of_the_shards_that_it_scored_whatever_is_committed_beside_it(
    arguments, tmp_path: Path
) -> None:
    assert run_here("generate", *arguments) == 0
    store = store_at(tmp_path)
    late, kept = list(manifest.committed(store)), {}
    for name in late[1:]:
        kept[manifest_key(name)] = store.get(manifest_key(name))
    store.delete(kept)
    found, wanted = open_run(str(tmp_path / "run")), check_evaluation(EvaluationOptions(), silent)
    with started(EngineOptions()) as engine:
        extracted = extract_for(found, wanted, engine, silent)
        for key, data in kept.items():
            store.put(key, data)
        assert measure(found, wanted, extracted, engine, silent).is_good
    assert figure(tmp_path).num_images == 4
    ((images,),) = [list(found.images.values()) for found in read_evaluations(store)]
    assert images.count == 4


@pytest.mark.slow
def test_what_is_no_features_is_made_again_and_only_that(arguments, tmp_path: Path, capsys) -> None:
    assert run_here("generate", *arguments, "evaluate=inline") == 0
    store, right = store_at(tmp_path), figure(tmp_path)
    keys = [info.key for info in store.list("features/")]
    whole = {key: store.get(key) for key in keys}
    table = pq.read_table(pa.BufferReader(whole[keys[0]]))
    for spoiled in (
        b"",
        b"hello",
        whole[keys[0]][:-30],
        damage(whole[keys[0]]),
        _written(table.drop_columns(["sha256", "error"])),  # as an older version wrote them
        _written(table.set_column(1, "sha256", pa.array(["0" * 64] * len(table)))),
        _written(table.slice(1)),
    ):
        store.put(keys[0], spoiled)
        with pytest.raises(DarkroomError, match=r"not all of their images have features; run .*evaluate run="):
            run_here("compare", f"a={tmp_path / 'run'}", f"b={tmp_path / 'run'}")
        capsys.readouterr()
        assert evaluated(tmp_path) == 0
        assert "1 shards lack features" in capsys.readouterr().out
        assert figure(tmp_path) == right
        assert {key: store.get(key) for key in keys} == whole


@pytest.mark.slow
def test_what_retry_rendered_is_scored_and_nothing_else(arguments, tmp_path: Path, capsys) -> None:
    assert run_here("generate", *arguments, "evaluate=inline") == 0
    store = store_at(tmp_path)
    name = next(iter(manifest.committed(store)))
    before = store.get(manifest_key(name))
    table = manifest.parse(before)
    ids, [key] = table["image_id"].to_pylist(), [info.key for info in store.list("features/")][:1]
    failed = {"status": "failed", "error": "out of memory", "sha256": None, "key": None}
    rows = [{**row, **failed} if row["image_id"] == ids[1] else row for row in table.to_pylist()]
    assert manifest.revise(store, name, before, pa.Table.from_pylist(rows, table.schema))
    assert run_here("retry", f"run={tmp_path / 'run'}", "engine=local") == 0
    assert evaluated(tmp_path) == 0
    assert from_bytes(store.get(key)).image_ids == tuple(ids)
    assert figure(tmp_path).num_images == NUM_PROMPTS


@pytest.mark.slow
def test_a_picture_that_cannot_be_shown_is_named_and_costs_no_contact_sheet(arguments, tmp_path: Path, capsys) -> None:
    assert run_here("generate", *arguments) == 0
    store = store_at(tmp_path)
    first = tmp_path / "run" / str(next(iter(records(store))).key)
    first.write_bytes(b"hello")
    capsys.readouterr()
    assert run_here("generate", *arguments) == 0
    said = capsys.readouterr().out
    assert f"not on the contact sheet: image {first.stem} ({first}): its file is not what was committed" in said
    assert "contact sheet: " in said


def _written(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()
