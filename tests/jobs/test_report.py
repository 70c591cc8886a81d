"""The report of runs that jobs made: it opens, it is served from S3, and its command makes the same run."""

import json
import shlex
import shutil
from pathlib import Path

import boto3
import pandas as pd
import pytest

from darkroom.domain.errors import DarkroomError
from tests.jobs.helpers import PAINT, run_here
from tests.reporting.contents import HOSTILE
from tests.reporting.pages import CHROMIUM, run_page

GRID = ("grid.axes.guidance_scale=[1,3]", "grid.axes.scheduler=[ddim,euler]")
GRIDS = {
    "generate": (),
    "sweep": GRID,
    "a part of a product": (*GRID, "grid.exclude=[{scheduler: ddim, guidance_scale: 1}]"),
    "texts": ("grid.axes.negative_prompt=['', 'a, \\'b\\' \"c\"']",),
}


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.csv"
    pd.DataFrame({"prompt": [*HOSTILE, "plain"], "kind": [*HOSTILE, "plain"]}).to_csv(path, index=False)
    return path


def start(job: str, prompts: Path, uri: object, *more: str) -> int:
    return run_here(job, *PAINT, "prompts=file", f"prompts.uri={prompts}", f"output.uri={uri}", *more)


def command_of(folder: Path) -> list[str]:
    """The words of the command that the report says makes the run again."""
    return shlex.split((folder / "report.md").read_text().splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_the_reports_command_has_nothing_left_to_render(
    grid: tuple[str, ...], prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    uri = tmp_path / "run"
    start("sweep" if grid else "generate", prompts, uri, *grid, "engine.shard_size=3", "engine.batch_size=2")
    assert run_here("report", f"run={uri}") == 0
    capsys.readouterr()
    program, job, *words = command_of(uri / "report")
    assert program == "darkroom"
    assert run_here(job, *words, "engine=local") == 0
    said = capsys.readouterr().out
    assert "; 0 are left" in said
    assert "0 images rendered" in said
    assert "is ignored" not in said


@pytest.mark.slow
def test_a_templates_command_makes_its_prompts_again(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    template = ["prompts=template", "prompts.pattern='a {colour} {animal}'"]
    slots = ["prompts.slots={colour: [red, 'blue, dark'], animal: [cat, dog]}"]
    run_here("generate", *PAINT, *template, *slots, f"output.uri={tmp_path / 'run'}")
    run_here("report", f"run={tmp_path / 'run'}")
    _, job, *words = command_of(tmp_path / "run" / "report")
    capsys.readouterr()
    assert run_here(job, *words, "engine=local") == 0
    assert "1 of 1 shards are committed already" in capsys.readouterr().out


@pytest.mark.slow
def test_the_job_says_where_the_page_is_and_what_comes_next(prompts: Path, tmp_path: Path, capsys) -> None:
    start("generate", prompts, tmp_path / "run")
    capsys.readouterr()
    assert run_here("report", f"run={tmp_path / 'run'}") == 0
    said = capsys.readouterr().out
    assert f"report: {tmp_path / 'run' / 'report' / 'index.html'}\n" in said
    assert f"darkroom evaluate run={tmp_path / 'run'}" in said
    assert run_here("report", f"run={tmp_path / 'run'}", f"output.uri={tmp_path / 'else'}", "num_prompts=2") == 0
    assert len(list((tmp_path / "else" / "thumbnails").iterdir())) == 2


@pytest.mark.parametrize(("overrides", "words"), [(["num_prompts=0"], "num_prompts=0"), ([], "no run here")])
def test_a_report_that_cannot_be_is_refused(overrides: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(DarkroomError, match=words):
        run_here("report", f"run={tmp_path}", *overrides)


@pytest.mark.slow
def test_a_run_on_s3_has_a_page_that_a_static_bucket_can_serve(
    prompts: Path, tmp_path: Path, s3_endpoint: str, capsys
) -> None:
    start("generate", prompts, "s3://bucket/report-run", f"output.endpoint_url={s3_endpoint}")
    arguments = ("run=s3://bucket/report-run", f"endpoint_url={s3_endpoint}")
    assert run_here("report", *arguments) == 0
    assert run_here("report", *arguments, "num_prompts=2") == 0
    said = capsys.readouterr().out
    assert "report: s3://bucket/report-run/report/index.html\n" in said
    assert f"evaluate run=s3://bucket/report-run endpoint_url={s3_endpoint}" in said
    client = boto3.client("s3", endpoint_url=s3_endpoint)
    listed = client.list_objects_v2(Bucket="bucket", Prefix="report-run/report/")["Contents"]
    kinds = {
        item["Key"].removeprefix("report-run/report/"): client.head_object(Bucket="bucket", Key=item["Key"])[
            "ContentType"
        ]
        for item in listed
    }
    assert kinds["index.html"] == "text/html; charset=utf-8"
    assert kinds["plotly.min.js"].startswith("text/javascript")
    assert [kind for name, kind in kinds.items() if name.startswith("thumbnails/")] == ["image/webp"] * 2
    page = client.get_object(Bucket="bucket", Key="report-run/report/index.html")["Body"].read().decode()
    hrefs = {picture["image_href"] for picture in data_of(page)["pictures"]}
    for href in hrefs:
        client.head_object(Bucket="bucket", Key=f"report-run/{href.removeprefix('../')}")


def data_of(page: str) -> dict:
    return json.loads(page.partition('<script type="application/json" id="data">')[2].partition("</script>")[0])


OPENED = """
document.querySelector('#sheet .tile').click();
const image = document.querySelector('dialog img');
const texts = [...document.querySelectorAll('#sheet select:last-of-type option')].map((option) => option.text);
return {
  tiles: document.querySelectorAll('#sheet .tile').length, source: image.getAttribute('src'),
  rows: document.querySelectorAll('#cells-table tbody tr').length, hacked: window.hacked ?? null,
  links: [...document.links].map((link) => link.getAttribute('href')).filter((href) => !href.startsWith('#')),
  code: document.querySelector('dialog code').textContent, heading: document.querySelector('dialog h2').textContent,
};
"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
def test_a_sweep_of_hostile_prompts_opens_in_a_browser(prompts: Path, tmp_path: Path) -> None:
    start("sweep", prompts, tmp_path / "run", *GRID)
    run_here("report", f"run={tmp_path / 'run'}")
    shown, console = run_page(tmp_path / "run" / "report", OPENED)
    assert console == []
    assert (shown["tiles"], shown["rows"], shown["hacked"]) == (4, 4, None)
    assert (tmp_path / "run" / "report" / shown["source"]).resolve().is_file()
    assert shown["source"].startswith("../images/")
    assert shown["links"] == ["grid.png", shown["source"]]
    assert shown["heading"] == HOSTILE[0]
    assert shown["code"].startswith(f"darkroom verify run={tmp_path / 'run'} image_id=")
    shutil.rmtree(tmp_path / "run" / "report" / "profile")
