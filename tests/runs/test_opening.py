"""Whatever of a run is lost, edited or mixed up, every job says so in one line, and nothing is rendered twice."""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import darkroom
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import planned_shard
from darkroom.prompts.opening import open_prompts
from darkroom.runs.cells import read_cells
from darkroom.runs.files import manifest_key
from darkroom.runs.opening import claim, open_whole
from darkroom.runs.run import OutputInfo, PromptsInfo, RunInfo, check_same, settle_batch_size
from darkroom.storage.store import Store, StoreSpec, open_store, parse_spec
from tests.jobs.helpers import PAINT, command, run_here

READERS = ("status", "verify", "repair", "retry", "report", "gc")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    (folder / "prompts.txt").write_text("\n".join(f"a small red circle {number}" for number in range(10)) + "\n")
    assert generate(folder) == 0
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def generate(folder: Path, *overrides: str, job: str = "generate") -> int:
    where = ("prompts=file", f"prompts.uri={folder / 'prompts.txt'}", f"output.uri={folder / 'run'}")
    return run_here(job, *PAINT, *where, "engine.shard_size=4", *overrides)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_part(path: Path, part: str, **changes: object) -> None:
    value = json.loads(path.read_text())
    edit(path, **{part: {**value[part], **changes}})


def the_cell(run: Path) -> Path:
    [path] = (run / "cells").glob("*.json")
    return path


def rename_cell(run: Path) -> None:
    the_cell(run).rename(run / "cells" / f"{'0' * 16}.json")


def copy_shard(run: Path) -> None:
    """The rows of one shard in another one too."""
    first, second, *_ = sorted((run / "metadata").rglob("*.parquet"))
    shutil.copy(first, second)


def foreign_shard(run: Path) -> None:
    first = min((run / "metadata").rglob("*.parquet"))
    shutil.copy(first, first.with_name(f"000000000000-000000000010-{'0' * 32}.parquet"))


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "run.json lost": (lambda run: (run / "run.json").unlink(), "run.json"),
    "shard size": (lambda run: edit(run / "run.json", shard_size=3), "no shard of the run"),
    "fingerprint": (
        lambda run: edit_part(run / "run.json", "prompts", fingerprint="0" * 64),
        "no shard of the run|was",
    ),
    "more rows": (
        lambda run: edit_part(run / "run.json", "prompts", num_rows=12),
        "no shard of the run|number of rows",
    ),
    "more whole shards": (lambda run: edit_part(run / "run.json", "prompts", num_rows=40), "number of rows|no shard"),
    "seed": (lambda run: edit(run / "run.json", seed=9), "sampling.seed"),
    "images each": (lambda run: edit(run / "run.json", num_images_per_prompt=2), "num_images_per_prompt"),
    "quality": (lambda run: edit_part(run / "run.json", "output", quality=7), "output.quality"),
    "cells lost": (lambda run: shutil.rmtree(run / "cells"), "cells/.* missing"),
    "cell edited": (lambda run: edit_part(the_cell(run), "sampling", guidance_scale=9.5), "cells/.* edited"),
    "cell renamed": (rename_cell, "cells/.* edited"),
    "a shard of other rows": (foreign_shard, "no shard of the run"),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_every_job_names_what_is_lost_or_edited(folder: Path, damage: str) -> None:
    inflict, words = DAMAGES[damage]
    inflict(folder / "run")
    before = len(list((folder / "run").rglob("*")))
    for job in READERS:
        with pytest.raises(DarkroomError, match=words) as caught:
            run_here(job, f"run={folder / 'run'}")
        assert "\n" not in str(caught.value)
    for job, key in (("evaluate", "run"), ("compare", "a")):
        others = ("b=nowhere",) if job == "compare" else ()
        with pytest.raises(DarkroomError, match=words):
            run_here(job, f"{key}={folder / 'run'}", *others)
    assert len(list((folder / "run").rglob("*"))) == before


@pytest.mark.slow
@pytest.mark.parametrize("damage", [name for name in DAMAGES if not name.startswith(("run.json", "cells"))])
def test_nothing_is_rendered_into_a_run_that_does_not_fit_together(folder: Path, damage: str) -> None:
    inflict, _ = DAMAGES[damage]
    inflict(folder / "run")
    before = sorted((folder / "run").rglob("*"))
    with pytest.raises(DarkroomError):
        generate(folder)
    assert [path for path in sorted((folder / "run").rglob("*")) if path.name != ".darkroom-lock"] == [
        path for path in before if path.name != ".darkroom-lock"
    ]


@pytest.mark.slow
def test_a_shard_that_holds_another_one_s_records_is_named(folder: Path) -> None:
    copy_shard(folder / "run")
    for job in ("status", "report", "verify"):
        with pytest.raises(DarkroomError, match=r"metadata/.*those of shard"):
            run_here(job, f"run={folder / 'run'}")


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["run.json", "cells", "both"])
def test_what_is_lost_is_written_again_by_the_same_command_alone(folder: Path, lost: str) -> None:
    run = folder / "run"
    was = json.loads((run / "run.json").read_text())
    if lost != "cells":
        (run / "run.json").unlink()
    if lost != "run.json":
        shutil.rmtree(run / "cells")
    others = ["sampling.guidance_scale=9"] if lost != "run.json" else []
    if lost != "cells":
        others += ["engine.shard_size=2", "sampling.seed=3", "sampling.num_images_per_prompt=2"]
    for other in others:
        with pytest.raises(DarkroomError):
            generate(folder, other)
    assert generate(folder) == 0
    now = json.loads((run / "run.json").read_text())
    assert {**now, "prompts": now["prompts"]["fingerprint"]} == {**was, "prompts": was["prompts"]["fingerprint"]}
    frame = pd.read_parquet(run / "metadata")
    assert len(frame) == frame["image_id"].nunique() == 10
    assert run_here("verify", f"run={run}", "stored=true") == 0


@pytest.mark.slow
def test_a_lost_run_is_no_reference(folder: Path) -> None:
    run = folder / "run"
    (folder / "other").mkdir()
    shutil.copytree(run, folder / "other" / "run")
    (run / "run.json").unlink()
    with pytest.raises(DarkroomError, match=r"reference .*: .*run\.json is missing, and shards are committed there"):
        run_here("evaluate", f"run={folder / 'other' / 'run'}", f"reference={run}", "engine=local")


@pytest.mark.slow
def test_a_run_that_is_older_than_these_checks_goes_on(folder: Path) -> None:
    run = folder / "run"
    value = json.loads((run / "run.json").read_text())
    del value["cell_id"], value["batch_size"]
    (run / "run.json").write_text(json.dumps(value))
    assert generate(folder) == 0
    assert run_here("status", f"run={run}") == 0
    with pytest.raises(DarkroomError, match="guidance_scale"):
        generate(folder, "sampling.guidance_scale=9")


def as_older(run: Path) -> None:
    """The manifests as a version wrote them that marked no files."""
    for path in (run / "metadata").rglob("*.parquet"):
        table = pq.read_table(path)
        about = {**table.schema.metadata}
        said = json.loads(about[b"darkroom.run"])
        del said["output.provenance"]
        about[b"darkroom.run"] = json.dumps(said).encode()
        pq.write_table(table.replace_schema_metadata(about), path)


@pytest.mark.slow
@pytest.mark.parametrize("is_lost", [False, True], ids=["there", "lost"])
def test_a_run_that_is_older_than_marks_in_files_stays_without(folder: Path, is_lost: bool) -> None:
    run = folder / "run"
    whole = {path.name: path.read_bytes() for path in run.rglob("*.png") if path.parent.name != "run"}
    shutil.rmtree(run)
    assert generate(folder, "output.provenance=false") == 0
    plain = {path.name: path.read_bytes() for path in run.rglob("*.png") if path.parent.name != "run"}
    value = json.loads((run / "run.json").read_text())
    assert value["output"].pop("provenance") is False
    (run / "run.json").write_text(json.dumps(value))
    as_older(run)
    if is_lost:
        (run / "run.json").unlink()
    max((run / "metadata").rglob("*.parquet")).unlink()
    for path in (run / "images").rglob("*.png"):
        path.unlink()
    assert generate(folder) == 0
    again = {path.name: path.read_bytes() for path in (run / "images").rglob("*.png")}
    assert 0 < len(again) < len(plain)
    assert again.items() < plain.items()
    assert all(b"trainedAlgorithmicMedia" in data for data in whole.values())


def test_what_was_said_of_the_prompts_is_named_where_it_differs() -> None:
    settings = {"kind": "file", "uri": "p.csv", "sample": 2}
    prompts = PromptsInfo("p.csv", "0a", 2, settings)
    run = RunInfo(prompts, OutputInfo("files", "png", 0), 0, 1, 64)
    store = open_store(StoreSpec("/nowhere"))
    for found, said in (
        (
            replace(prompts, fingerprint="0b", settings={**settings, "row_seed": 1}),
            "prompts.row_seed is None .* and 1 in",
        ),
        (replace(prompts, fingerprint="0b", settings={**settings, "uri": "q.csv"}), "fingerprint is '0a'"),
        (replace(prompts, fingerprint="0b"), "fingerprint is '0a'"),
    ):
        with pytest.raises(DarkroomError, match=said):
            check_same(store, run, replace(run, prompts=found))


@pytest.mark.slow
def test_a_sweep_adds_cells_to_a_plain_run_and_a_plain_job_none_to_a_sweep(folder: Path) -> None:
    assert generate(folder, "grid.axes.guidance_scale=[3,5]", job="sweep") == 0
    assert generate(folder, "sampling.guidance_scale=3") == 0
    with pytest.raises(DarkroomError, match="guidance_scale"):
        generate(folder, "sampling.guidance_scale=9")
    assert len(read_cells(open_store(parse_spec(str(folder / "run"))))) == 2


@pytest.mark.slow
def test_a_run_that_knew_its_prompts_by_etags_goes_on(finished: Path, tmp_path: Path) -> None:
    run, cells = parts(finished)
    older, now = (replace(run, prompts=replace(run.prompts, fingerprint=each * 64)) for each in "ab")
    store = open_store(StoreSpec(str(tmp_path / "run")))
    assert claim(store, older, cells) == older
    with pytest.raises(DarkroomError, match="fingerprint"):
        claim(store, now, cells)
    assert claim(store, now, cells, etag_fingerprints=lambda: {"b" * 64: "a" * 64}) == older
    with pytest.raises(DarkroomError, match="fingerprint"):
        claim(store, now, cells, etag_fingerprints=lambda: {"b" * 64: "c" * 64})


@pytest.mark.parametrize("sizes", [[10], [10, 11], [8, 12, 13, 30], [1, 2, 3, 4, 9]])
def test_rows_that_a_run_was_grown_by_are_shards_of_their_own(sizes: list[int]) -> None:
    *earlier, last = [PromptsInfo("p", f"{size}", size) for size in sizes]
    run = RunInfo(last, OutputInfo("files", "png", 0), 0, 1, 4, earlier_prompts=tuple(earlier))
    assert [part.first_row + part.num_rows for part in run.parts] == sizes
    assert [part.fingerprint for part in run.parts] == [f"{size}" for size in sizes]
    starts = run.first_rows
    assert len(starts) == run.num_shards
    assert all(before + 4 <= after for before, after in pairwise(starts))  # no two share a place among shards
    assert all(start % 4 == 0 for start in starts)
    before = replace(run, prompts=run.first_prompts, earlier_prompts=())
    assert starts[: before.num_shards] == before.first_rows


# Two at once ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["disk", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "disk":
        return open_store(StoreSpec(str(tmp_path / "store")))
    endpoint = request.getfixturevalue("s3_endpoint")
    return open_store(StoreSpec(f"s3://bucket/{tmp_path.name}", endpoint))


def parts(finished: Path) -> tuple[RunInfo, dict]:
    run, cells = open_whole(open_store(parse_spec(str(finished / "run"))))
    return run, cells


@pytest.mark.slow
def test_a_plain_run_is_claimed_with_its_cell_by_one_write(finished: Path, store: Store) -> None:
    """As if the first command had stopped right after it, before its cell was written."""
    run, cells = parts(finished)
    ((cell_id, cell),) = cells.items()
    claim(store, run, cells)
    store.delete([f"cells/{cell_id}.json"])
    other = replace(cell, cell=replace(cell.cell, sampling=replace(cell.cell.sampling, guidance_scale=9.0)))
    with pytest.raises(DarkroomError, match=cell_id):
        claim(store, replace(run, cell_id=other.cell.cell_id), {other.cell.cell_id: other})
    assert read_cells(store) == {}
    assert claim(store, run, cells) == run
    assert list(read_cells(store)) == [cell_id]


@pytest.mark.slow
def test_the_batch_size_is_settled_once(finished: Path, store: Store) -> None:
    run, cells = parts(finished)
    claim(store, replace(run, batch_size=None), cells)
    assert settle_batch_size(store, 5).batch_size == 5
    assert settle_batch_size(store, 7).batch_size == 5


@pytest.mark.slow
def test_of_two_different_commands_at_once_one_is_refused(tmp_path: Path) -> None:
    arguments = [
        *PAINT,
        "engine.batch_size=auto",
        f"output.uri={tmp_path / 'run'}",
        "prompts=template",
        "prompts.pattern='a {n} circle'",
    ]
    arguments += ["prompts.slots={n: [red, blue, green]}"]
    started = [
        subprocess.Popen(
            command("generate", *arguments, f"sampling.guidance_scale={scale}"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for scale in (3, 7)
    ]  # fmt: skip
    ends = [job.communicate(timeout=120) for job in started]
    assert sorted(job.returncode for job in started) == [0, 2], ends
    assert len(pd.read_parquet(tmp_path / "run" / "metadata")) == 3
    assert len(list((tmp_path / "run" / "cells").iterdir())) == 1


@pytest.mark.slow
def test_a_run_that_is_older_than_a_setting_goes_on_with_its_column_unread(tmp_path: Path) -> None:
    prompts, run = tmp_path / "prompts.parquet", tmp_path / "run"
    said = {"prompt": [f"a red circle {number}" for number in range(4)], "guidance_rescale": [0.1, 0.2, 0.3, 0.4]}
    pd.DataFrame(said).to_parquet(prompts)
    where = ("prompts=file", f"prompts.uri={prompts}", f"output.uri={run}", "engine.shard_size=2")
    unread = "prompts.columns.guidance_rescale=null"
    assert run_here("generate", *PAINT, *where, unread) == 0
    before = pd.concat(map(pd.read_parquet, sorted(run.glob("metadata/*/*.parquet"))))
    age(run)

    with pytest.raises(DarkroomError, match=f"column 'guidance_rescale' was not read as a setting .* {unread}"):
        run_here("generate", *PAINT, *where)
    assert run_here("generate", *PAINT, *where, unread) == 0
    records = darkroom.open_run(run).table().to_pandas()
    assert list(records["guidance_rescale"]) == [0.0] * 4
    assert list(records["source_guidance_rescale"]) == said["guidance_rescale"]
    assert list(records["pixels_sha256"]) == list(before["pixels_sha256"])
    assert list(records["prompt_id"]) == list(before["prompt_id"])
    assert run_here("verify", f"run={run}", "num_images=4") == 0
    with pytest.raises(DarkroomError, match="was not read as a setting"):
        run_here("generate", *PAINT, *where)


def age(run: Path) -> None:
    """Make of a run what a version left that carried the prompts' guidance_rescale, with its last shard missing."""
    description = json.loads((run / "run.json").read_text())
    table = pq.read_table(min(run.glob("metadata/*/*.parquet")))
    prompts = open_prompts(description["prompts"]["name"]).scan(1)
    description["prompts"] |= {"fingerprint": prompts.fingerprint, "settings": {}}
    (run / "run.json").write_text(json.dumps(description))
    [cell_folder] = (run / "metadata").iterdir()
    for path in cell_folder.iterdir():
        path.unlink()
    shard = planned_shard(cell_folder.name, prompts.fingerprint, 0, 2)
    ids = pa.array([shard.shard_id] * 2)
    table = table.drop_columns(["guidance_rescale"])
    table = table.set_column(table.column_names.index("shard_id"), "shard_id", ids)
    names = [name.removeprefix("source_") for name in table.column_names]
    pq.write_table(table.rename_columns(names).replace_schema_metadata(None), run / manifest_key(shard))
