"""Renderers of one's own and the images API through whole jobs, as a person starts them."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

import darkroom
from darkroom.domain.errors import DarkroomError
from darkroom.jobs.console import ExitCode
from darkroom.rendering import http_calls
from tests.jobs.helpers import run, run_here
from tests.processes import Job
from tests.rendering.images_server import ImagesServer, serving

MAKE = "tests.rendering.own_renderers:make"
API = "darkroom.rendering.openai_images:make"
OWN = ("model=plugin", f"model.make={MAKE}", "engine=local")
KEY = "sk-secret-4711"


@pytest.fixture
def server() -> Iterator[ImagesServer]:
    with serving() as found:
        yield found


@pytest.fixture(autouse=True)
def _impatient(monkeypatch) -> None:
    monkeypatch.setattr(http_calls, "_FIRST_WAIT_S", 0.01)


def prompts(tmp_path: Path, *lines: str, head: str = "prompt") -> list[str]:
    path = tmp_path / "prompts.csv"
    path.write_text("\n".join([head, *lines]) + "\n")
    return ["prompts=file", f"prompts.uri={path}", f"output.uri={tmp_path / 'run'}"]


def api(server: ImagesServer, **options: object) -> list[str]:
    given = [f"model.options.{name}={value}" for name, value in options.items()]
    size = ["sampling.height=16", "sampling.width=16", "engine=local"]
    return ["model=openai_images", "model.repo_id=tiny", f"model.options.base_url={server.url}", *size, *given]


def records(tmp_path: Path) -> pd.DataFrame:
    return pd.read_parquet(tmp_path / "run" / "metadata").sort_values("row", ignore_index=True)


def refused(job: str, *words: str) -> str:
    with pytest.raises(DarkroomError) as caught:
        run_here(job, *words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Somebody's own ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_it_is_planned_rendered_verified_and_shown(tmp_path: Path, capsys) -> None:
    given = [*OWN, *prompts(tmp_path, "a,", "b,7", head="prompt,guidance_scale"), "sampling.guidance_scale=3"]
    assert run_here("plan", *given) == 0
    assert run_here("generate", *given, "engine.shard_size=1") == 0
    assert "with painter: guidance 3, 16x16; rows override guidance_scale (1)" in capsys.readouterr().out
    found = records(tmp_path)
    assert list(found["guidance_scale"]) == [3.0, 7.0]
    assert set(found["model"]) == {"painter"}
    assert set(found["pipeline_class"]) == {MAKE}
    assert (set(found["is_seeded"]), found["render_cost"].sum()) == ({True}, 1.0)
    assert json.loads(found["render_notes"][0]) == {"hand": "left"}
    text = Image.open(tmp_path / "run" / found["key"][0]).text["parameters"]
    assert "CFG scale: 3.0" in text
    assert "Steps" not in text
    assert run_here("verify", f"run={tmp_path / 'run'}", f"model.make={MAKE}") == 0
    assert run_here("report", f"run={tmp_path / 'run'}") == 0
    said = (tmp_path / "run" / "report" / "report.md").read_text()
    assert f"darkroom generate model=plugin model.make={MAKE} prompts=file" in said
    assert "- cost: 1, by the renderer's price" in said
    assert "num_inference_steps" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sampling.num_inference_steps=7"], "sampling.num_inference_steps=7: painter takes no num_inference_steps"),
        (["sampling.negative_prompt=blur"], "sampling.negative_prompt=blur: painter takes no negative_prompt"),
        (["sampling.scheduler=ddim"], "sampling.scheduler=ddim: painter takes no scheduler"),
        (["sampling.cache_interval=2"], "sampling.cache_interval=2: painter takes no cache_interval"),
        (["sampling.height=64"], "16x64 is no size that painter makes; give one of 16x16, 24x16"),
        (["model.dtype=float16"], "takes no dtype"),
        (["model.options={shadow: 1}"], "no option 'shadow'; did you mean shade?"),
        (["model.options=3"], "model.options=3: give keys with values"),
        (["model.make=tests.nowhere:make"], "model.make=tests.nowhere:make: cannot be imported (No module named"),
        (["model.make=painter"], "model.make=painter: no name of a function"),
    ],
)
def test_what_it_does_not_take_is_refused_before_anything_is_stored(tmp_path, words: list[str], said: str) -> None:
    assert said in refused("generate", *OWN, *prompts(tmp_path, "a"), *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_column_that_it_does_not_take_and_a_size_that_it_does_not_make_are_refused(tmp_path: Path) -> None:
    steps = prompts(tmp_path, "a,7", head="prompt,num_inference_steps")
    assert "prompts.columns.num_inference_steps=null leaves it unread" in refused("generate", *OWN, *steps)
    assert run_here("generate", *OWN, *steps, "prompts.columns.num_inference_steps=null") == 0
    sizes = prompts(tmp_path, "a,24", "b,64", head="prompt,width")
    assert refused("generate", *OWN, *sizes).startswith("prompts, row 1: 64x16 is no size that painter makes")


@pytest.mark.slow
def test_a_model_without_a_renderer_and_options_without_one_are_refused(tmp_path: Path) -> None:
    given = prompts(tmp_path, "a")
    assert "or model.make=my_module:make" in refused("generate", "model=plugin", *given)
    assert "model.options: is for a renderer of one's own" in refused("generate", "model.options={a: 1}", *given)


@pytest.mark.slow
def test_errors_and_refusals_are_rows_and_only_errors_are_tried_again(tmp_path: Path, capsys) -> None:
    given = [*OWN, *prompts(tmp_path, "a", "impossible", "shameful")]
    assert run_here("generate", *given) == ExitCode.ROWS_FAILED
    said = capsys.readouterr().out
    assert "2 images failed (1 of them refused by a policy); their records say why:" in said
    assert f"row 1: {MAKE}: ValueError: no picture of this" in said
    assert list(records(tmp_path)["status"]) == ["ok", "failed", "filtered"]
    assert run_here("generate", *given) == ExitCode.ROWS_FAILED
    assert "1 images are refused by a policy, as before" in capsys.readouterr().out
    assert run_here("status", f"run={tmp_path / 'run'}") == ExitCode.ROWS_FAILED
    assert "1 ok, 1 failed, 1 filtered" in capsys.readouterr().out
    retry = ["retry", f"run={tmp_path / 'run'}", f"model.make={MAKE}", "engine=local"]
    assert run_here(*retry) == ExitCode.ROWS_FAILED
    said = capsys.readouterr().out
    assert "1 failed records in 1 shards" in said
    assert "1 images are refused by a policy, and stay so" in said


@pytest.mark.slow
def test_a_broken_one_ends_the_job_in_one_line(tmp_path: Path) -> None:
    words = [*OWN, *prompts(tmp_path, "a"), "model.make=tests.rendering.own_renderers:returns_gray"]
    assert "its render returned pixels that are uint8 (16, 16)" in refused("plan", *words)
    assert "its render returned pixels that are uint8 (16, 16)" in refused("generate", *words)
    assert not list((tmp_path / "run" / "metadata").rglob("*.parquet"))


@pytest.mark.slow
@pytest.mark.parametrize("job", ["verify", "repair", "retry"])
def test_no_stored_run_decides_what_is_imported_or_where_it_lies(tmp_path: Path, job: str, capsys) -> None:
    given = [*OWN, *prompts(tmp_path, "a", "impossible"), "model.options={place: here, shade: 2}"]
    run_here("generate", *given)
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("next:")]
    assert line.endswith(f"model.make={MAKE} 'model.options={{place:here}}'")
    if job == "repair":
        next((tmp_path / "run" / "images").rglob("*.png")).write_bytes(b"")
    words = [job, f"run={tmp_path / 'run'}", *(["engine=local"] if job == "retry" else [])]
    assert f"give model.make={MAKE} if you trust it" in refused(*words)
    assert "give model.make=" in refused(*words, "model.make=json:loads")
    assert "a stored run decides no place; give 'model.options={place: ...}' too" in refused(
        *words, f"model.make={MAKE}"
    )
    named = [*words, f"model.make={MAKE}"]
    assert "and the run was made with" in refused(*named, "model.options={place: elsewhere}")
    assert run_here(*named, "model.options={place: here}") == (ExitCode.ROWS_FAILED if job == "retry" else 0)


@pytest.mark.slow
def test_what_makes_no_promise_is_not_verified_and_not_repaired(tmp_path: Path, capsys) -> None:
    given = [*OWN, *prompts(tmp_path, "a"), f"model.make={MAKE}_unseeded"]
    assert run_here("plan", *given) == 0
    said = capsys.readouterr()
    assert "painter makes no promise about seeds" in said.err
    assert "nothing is asked of the renderer by a plan" in said.out
    assert run_here("generate", *given) == 0
    assert set(records(tmp_path)["is_seeded"]) == {False}
    words = [f"run={tmp_path / 'run'}", f"model.make={MAKE}_unseeded"]
    assert "makes no promise about seeds, so that none can be rendered again" in refused("verify", *words)
    assert run_here("verify", f"run={tmp_path / 'run'}", "stored=true") == 0
    next((tmp_path / "run" / "images").rglob("*.png")).write_bytes(b"")
    capsys.readouterr()
    assert run_here("repair", *words) == ExitCode.CHECK_FAILED
    assert "its renderer makes no promise about seeds: what is lost is lost" in capsys.readouterr().out
    run_here("report", f"run={tmp_path / 'run'}")
    assert "- seeds: the renderer makes no promise about them" in (tmp_path / "run/report/report.md").read_text()


@pytest.mark.slow
def test_its_options_are_an_axis_and_the_reports_command_goes_on(tmp_path: Path, monkeypatch, capsys) -> None:
    given = [*OWN, *prompts(tmp_path, "a", "b"), "grid.axes.options=[{shade: 1}, {shade: 90}]"]
    assert run_here("sweep", *given, "grid.axes.guidance_scale=[1, 5]") == 0
    assert len(set(records(tmp_path)["cell_id"])) == 4
    assert run_here("report", f"run={tmp_path / 'run'}") == 0
    line = (tmp_path / "run" / "report" / "report.md").read_text().split("    darkroom sweep ")[1].splitlines()[0]
    capsys.readouterr()
    shell = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True)
    assert run_here("sweep", *shell.stdout.rstrip("\0").split("\0"), "engine=local") == 0
    assert "4 of 4 shards are committed already" in capsys.readouterr().out


@pytest.mark.slow
def test_python_takes_it_by_its_functions_name_and_as_a_model(tmp_path: Path) -> None:
    run = darkroom.generate(["a"], model=MAKE, out=tmp_path / "a", guidance_scale=3)
    assert list(run.records["status"]) == ["ok"]
    same = darkroom.ModelRef("", make=MAKE, options={"shade": 9})
    first = darkroom.generate(["a"], model=same, out=tmp_path / "b")
    second = darkroom.generate(["a"], model="plugin", make=MAKE, options={"shade": 9}, out=tmp_path / "b")
    assert list(first.records["image_id"]) == list(second.records["image_id"])
    with pytest.raises(DarkroomError, match=r"options=\[1\]: give keys with values"):
        darkroom.generate(["a"], model=MAKE, options=[1], out=tmp_path / "c")


@pytest.mark.slow
def test_it_renders_on_ray(tmp_path: Path) -> None:
    given = [*OWN[:2], *prompts(tmp_path, *map(str, range(8))), "engine.shard_size=2", "engine.num_workers=2"]
    done = run("generate", *given)
    assert done.returncode == 0, done.stderr
    assert len(records(tmp_path)) == 8
    assert run_here("verify", f"run={tmp_path / 'run'}", f"model.make={MAKE}") == 0


# The images API ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_server_renders_a_prompt_file(server: ImagesServer, tmp_path: Path, capsys) -> None:
    lines = prompts(tmp_path, "a cat", "forbidden", "busy", "garbled", "revise a horse")
    given = [*api(server, parameters="seed guidance_scale", price=0.25), *lines]
    assert "has no value, and tiny names none; give sampling.guidance_scale=..., which was 5" in refused("plan", *given)
    given = [*given, "sampling.guidance_scale=4"]
    assert run_here("plan", *given) == 0
    assert "price:   1.25 (0.25 an image)" in capsys.readouterr().out
    assert not server.bodies
    assert run_here("generate", *given) == ExitCode.ROWS_FAILED
    assert "these images cost 1, by the renderer's price" in capsys.readouterr().out
    found = records(tmp_path)
    assert list(found["status"]) == ["ok", "filtered", "ok", "failed", "ok"]
    assert json.loads(found["render_notes"][4]) == {"revised_prompt": "revise a horse, in oil"}
    place = f"model.options={{base_url: {server.url}}}"
    assert run_here("verify", f"run={tmp_path / 'run'}", f"model.make={API}", place) == 0
    assert run_here("retry", f"run={tmp_path / 'run'}", f"model.make={API}", place, "engine=local") == 3
    assert (server.calls["forbidden"], server.calls["garbled"]) == (1, 2)


@pytest.mark.slow
def test_a_server_that_moved_is_the_same_where_its_revision_is_named(server: ImagesServer, tmp_path: Path) -> None:
    given = [*api(server, parameters="seed"), *prompts(tmp_path, "a cat"), "model.revision=v7"]
    assert run_here("generate", *given) == 0
    with serving() as other:
        words = ["verify", f"run={tmp_path / 'run'}", f"model.make={API}", f"model.options={{base_url: {other.url}}}"]
        assert run_here(*words) == 0
        assert other.calls["a cat"] == 1


@pytest.mark.slow
def test_keys_reach_neither_the_run_nor_what_is_printed(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("IMAGES_KEY", KEY)
    with serving(key=KEY) as server:
        words = [*api(server, key_variable="IMAGES_KEY"), *prompts(tmp_path, "a cat", "odd")]
        assert run_here("generate", *words) == ExitCode.ROWS_FAILED
        assert run_here("report", f"run={tmp_path / 'run'}") == 0
        said = capsys.readouterr()
        monkeypatch.setenv("IMAGES_KEY", "another")
        assert "check the key in IMAGES_KEY" in refused("generate", *words, f"output.uri={tmp_path / 'other'}")
    assert "***" in said.out
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert KEY.encode() not in stored
    assert KEY not in said.out + said.err
    assert "***" in records(tmp_path)["error"][1]


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_job_goes_on_and_pays_for_no_committed_image_again(tmp_path: Path, kill: signal.Signals) -> None:
    lines = prompts(tmp_path, *(f"a cat {number}" for number in range(24)))
    with serving(delay_s=0.2) as server:
        given = [*api(server, concurrency=2, parameters="seed"), *lines, "engine.shard_size=2", "engine.batch_size=2"]
        job = Job("generate", given)
        while len(list((tmp_path / "run").rglob("*.parquet"))) < 3:
            time.sleep(0.05)
            assert job.returncode is None
        job.send_signal(kill)
        job.end(20)
        assert job.returncode in (-signal.SIGKILL, ExitCode.INTERRUPTED)
        committed = set(records(tmp_path)["prompt"])
        assert 6 <= len(committed) < 24
        before = server.calls.copy()
        server.delay_s = 0
        assert run_here("generate", *given) == 0
    assert len(records(tmp_path)) == 24
    assert set(records(tmp_path)["status"]) == {"ok"}
    assert all(server.calls[prompt] == before[prompt] for prompt in committed)


@pytest.mark.slow
def test_a_server_that_goes_ends_the_job_which_goes_on_once_it_is_back(tmp_path: Path) -> None:
    lines = prompts(tmp_path, *(f"a cat {number}" for number in range(12)))
    with serving() as server:
        given = [*api(server, max_attempts=1, parameters="seed"), *lines, "engine.shard_size=1"]
        port = server.server_port
    done = run("generate", *given)
    assert done.returncode == ExitCode.UNFINISHED
    assert "cannot be reached" in done.stderr
    assert done.stderr.count("\n") == 1
    with serving(port=port):
        assert run_here("generate", *given) == 0
    assert len(records(tmp_path)) == 12
