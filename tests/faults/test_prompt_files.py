"""Prompt files that are spoiled, or change while a job reads them: one line that names the file, and whole shards."""

import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import INVALID, OK
from darkroom.jobs.console import ExitCode
from darkroom.prompts.dataset import BLOCK_ROWS
from darkroom.prompts.opening import open_prompts
from darkroom.runs import manifest
from darkroom.runs.reading import records
from darkroom.storage.store import open_store, parse_spec
from tests.jobs.helpers import PAINT, ROOT, command, run_here
from tests.processes import wait_for

HOSTILE = (
    "../../../outside",
    "/etc/outside",
    "..\\outside",
    "a/b",
    "~/.ssh/id",
    "C:\\x",
    "nul\0nul",
    "\n",
    "<b>&\"'",
    "☃",
)


def parquet(path: Path, num_rows: int, row_group_size: int) -> list:
    """The file's row groups, as (first byte, length) of the prompt column."""
    table = pa.table({"prompt": [f"a prompt, number {number}" for number in range(num_rows)]})
    pq.write_table(table, path, row_group_size=row_group_size, compression="zstd", use_dictionary=False)
    metadata = pq.read_metadata(path)
    columns = [metadata.row_group(group).column(0) for group in range(metadata.num_row_groups)]
    return [(column.data_page_offset, column.total_compressed_size) for column in columns]


@pytest.mark.parametrize("part", ["the head of its page", "its middle"])
def test_one_bad_row_group_is_found_before_anything_is_rendered(tmp_path: Path, part: str) -> None:
    path = tmp_path / "prompts.parquet"
    start, length = parquet(path, 1000, 100)[6]
    data = bytearray(path.read_bytes())
    place = start if part == "the head of its page" else start + length // 2
    data[place : place + 16] = bytes(16)
    path.write_bytes(bytes(data))
    with pytest.raises(DarkroomError, match=r"prompts\.parquet: cannot be read as parquet") as caught:
        open_prompts(str(path)).scan(1)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_file_that_changes_under_a_job_ends_it_in_one_line_and_restored_goes_on(tmp_path: Path) -> None:
    """More rows than are read at once; most cannot be rendered, which is quick."""
    path = tmp_path / "prompts.parquet"
    num_rows = BLOCK_ROWS + 300
    rows = pa.table({"prompt": [None if number % 32 else f"a prompt, number {number}" for number in range(num_rows)]})
    pq.write_table(rows, path)
    original = path.read_bytes()
    prompts = ("prompts=file", f"prompts.uri={path}", "prompts.on_invalid=record")
    given = (*PAINT, *prompts, f"output.uri={tmp_path / 'run'}", "engine.shard_size=256", "output.layout=webdataset")
    store = open_store(parse_spec(str(tmp_path / "run")))
    process = subprocess.Popen(
        command("generate", *given), cwd=ROOT, text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    wait_for(lambda: any(manifest.committed(store)))
    pq.write_table(rows, path, row_group_size=500)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2, said
    assert len(said.splitlines()) == 1
    assert f"{path}: changed since it was listed" in said
    assert 0 < sum(1 for _ in manifest.committed(store)) < 34
    path.write_bytes(original)
    assert run_here("generate", *given) is ExitCode.ROWS_FAILED  # all is there, and what could not be rendered is said
    found = {record.row: record.status for record in records(store)}
    assert found == {row: INVALID if row % 32 else OK for row in range(num_rows)}


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["files", "webdataset", "parquet"])
def test_no_id_or_caption_leaves_the_runs_folder_or_becomes_a_name_in_it(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "in" / "prompts.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"prompt": [*HOSTILE[:-2], "b", "c"], "prompt_id": list(HOSTILE)}), path)
    prompts = ["prompts=file", f"prompts.uri={path}", "prompts.on_invalid=record"]
    code = run_here("generate", *PAINT, *prompts, f"output.uri={tmp_path / 'a' / 'run'}", f"output.layout={layout}")
    assert code in (ExitCode.OK, ExitCode.ROWS_FAILED)  # a prompt of a newline alone is a row that failed
    written = {file for file in tmp_path.rglob("*") if file.is_file()} - {path}
    assert all(file.is_relative_to(tmp_path / "a" / "run") for file in written)
    assert all(
        set(str(file.relative_to(tmp_path))) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_./")
        for file in written
        if file.name != "README.md"
    )
    found = {record.prompt_id for record in records(open_store(parse_spec(str(tmp_path / "a" / "run"))))}
    assert found == set(HOSTILE)


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """An address that answers everything, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_POST = do_PUT = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Tests read `asked`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_no_address_in_a_prompt_file_is_ever_fetched(listener: tuple[str, list[str]], tmp_path: Path) -> None:
    """Whatever the column is called: an address is text like any other."""
    url, asked = listener
    names = ("url", "image_url", "uri", "file", "_url", "negative_prompt", "prompt_id", "prompt")
    pq.write_table(pa.table({name: [f"{url}/{name}/{row}.png" for row in range(3)] for name in names}),
                   tmp_path / "prompts.parquet")  # fmt: skip
    prompts = ["prompts=file", f"prompts.uri={tmp_path / 'prompts.parquet'}"]
    out = f"output.uri={tmp_path / 'run'}"
    assert run_here("plan", *PAINT, *prompts, out) == 0
    assert run_here("generate", *PAINT, *prompts, out) == 0
    assert run_here("report", f"run={tmp_path / 'run'}") == 0
    assert len(list(records(open_store(parse_spec(str(tmp_path / "run")))))) == 3
    assert asked == []


@pytest.mark.slow
def test_a_picture_at_an_address_of_the_web_is_a_failed_row(listener: tuple[str, list[str]], tmp_path: Path) -> None:
    url, asked = listener
    (tmp_path / "prompts.csv").write_text(f"prompt,image\na cat,{url}/a.png\n")
    prompts = ["prompts=file", f"prompts.uri={tmp_path / 'prompts.csv'}", "sampling.image_resize=crop"]
    assert run_here("generate", *PAINT, *prompts, f"output.uri={tmp_path / 'run'}") == ExitCode.ROWS_FAILED
    [record] = records(open_store(parse_spec(str(tmp_path / "run"))))
    assert record.error == f"image={url}/a.png: http:// is not read from; copy it to a folder or to s3://"
    assert asked == []


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["prompts.uri", "output.uri"])
def test_no_address_but_s3_is_read_or_written(listener: tuple[str, list[str]], tmp_path: Path, setting: str) -> None:
    url, asked = listener
    (tmp_path / "prompts.txt").write_text("a cat\n")
    given = {"prompts.uri": str(tmp_path / "prompts.txt"), "output.uri": str(tmp_path / "run"), setting: f"{url}/p.csv"}
    with pytest.raises(DarkroomError, match="http"):
        run_here("generate", *PAINT, "prompts=file", *(f"{key}={value}" for key, value in given.items()))
    assert asked == []
