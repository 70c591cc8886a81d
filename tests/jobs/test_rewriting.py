"""Prompts rewritten by whole jobs, as a person starts them, and rendered afterwards."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import darkroom
from darkroom.domain.errors import DarkroomError, TryAgain
from darkroom.jobs.console import ExitCode
from darkroom.prompts.opening import open_prompts
from darkroom.rendering import http_calls
from darkroom.storage.store import open_store, parse_spec
from tests.jobs.helpers import run_here
from tests.rendering.images_server import ImagesServer, serving
from tests.rewriting.tiny_language_model import WORDS, make

ROWS = [{"prompt": text, "mood": "calm", "seed": row} for row, text in enumerate(["a red dog", "a cat", "a red dog"])]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("model"))


@pytest.fixture
def server() -> Iterator[ImagesServer]:
    with serving() as found:
        yield found


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    monkeypatch.setattr(http_calls, "_FIRST_WAIT_S", 0.01)


def written(to: Path | str) -> pd.DataFrame:
    return pd.read_parquet(to)


def local(model: Path, **options: Any) -> dict[str, Any]:
    return {"model": str(model), "max_new_tokens": 40, "temperature": 1, "batch_size": 4, "shard_size": 3, **options}


def asked_of(server: ImagesServer, **options: Any) -> dict[str, Any]:
    return {"rewrite": "openai", "model": "tiny", "base_url": server.url, "shard_size": 2, **options}


def parts(to: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in to.glob("*") if not path.name.startswith(".")}


def some_prompts(count: int) -> list[str]:
    rng = random.Random(5)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 9))) for _ in range(count)]


@pytest.mark.slow
def test_rewritten_prompts_are_rendered_and_records_hold_both(tmp_path: Path, model: Path, capsys) -> None:
    path, to, run = tmp_path / "prompts.jsonl", tmp_path / "rich", tmp_path / "run"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    words = ["prompts=file", f"prompts.uri={path}", f"to={to}", f"rewrite.model={model}", "rewrite.max_new_tokens=60"]
    words += [
        "rewrite.seed=1",
        "rewrite.instruction=Say more, and {keep} it.",
        "rewrite.advice={light: [dawn, 'at noon']}",
    ]
    assert run_here("rewrite", *words) == ExitCode.OK
    said = capsys.readouterr().out
    assert "prompts: 3 of 3, in 1 files" in said
    assert "asked:   2;" in said
    assert f"generate prompts=file prompts.uri={to} ..." in said
    assert json.loads((to / "_rewrite.json").read_text())["instruction"] == "Say more, and {keep} it."
    found = written(to)
    assert list(found["original_prompt"]) == [row["prompt"] for row in ROWS]
    assert list(found["rewrite_status"]) == ["ok"] * 3
    assert found["prompt"][0] == found["prompt"][2] != found["original_prompt"][0]
    assert (list(found["seed"]), list(found["mood"])) == ([0, 1, 2], ["calm"] * 3)
    assert set(found["rewrite_hints"]) <= {"light: dawn", "light: at noon"}
    render = [f"prompts.uri={to}", f"output.uri={run}", "sampling.num_inference_steps=1", "engine=local"]
    assert run_here("generate", "prompts=file", *render) == ExitCode.OK
    records = pd.read_parquet(run / "metadata").sort_values("row", ignore_index=True)
    for name in ("prompt", "prompt_id", "original_prompt", "mood", "rewrite_id", "rewrite_seed"):
        assert list(records[name]) == list(found[name]), name
    [originals] = open_prompts(ROWS).blocks()
    assert list(found["prompt_id"]) == [row.prompt_id for row in originals.rows]  # so that noise is that of originals


def test_a_job_that_breaks_off_ends_in_the_same_bytes(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = some_prompts(11)

    def stop(event: Any) -> None:
        if getattr(event, "num_done", 0) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        darkroom.rewrite(prompts, tmp_path / "a", progress=stop, **local(model))
    assert [name[:10] for name in sorted(parts(tmp_path / "a"))] == ["_rewrite.j", "part-00000", "part-00001"]
    found = darkroom.rewrite(prompts, tmp_path / "a", **local(model))
    assert (found.num_parts, found.num_parts_before, found.num_rows) == (4, 2, 11)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    whole = darkroom.rewrite(prompts, tmp_path / "b", **local(model, batch_size=4))
    assert (whole.num_parts_before, whole.num_asked) == (0, 11)
    assert parts(tmp_path / "a") == parts(tmp_path / "b")


def test_only_what_is_new_is_asked(tmp_path: Path, server: ImagesServer) -> None:
    first = darkroom.rewrite(["a cat", "a dog", "a cat"], tmp_path / "a", **asked_of(server))
    assert (first.num_asked, first.by_status, len(server.bodies)) == (2, {"ok": 3}, 2)
    grown = darkroom.rewrite(["a dog", "a bird", "a cat"], tmp_path / "b", **asked_of(server))
    assert (grown.num_asked, len(server.bodies)) == (1, 3)
    variants = darkroom.rewrite(["a cat"], tmp_path / "c", **asked_of(server, num_rewrites=3))
    assert variants.num_asked == 2
    found = written(tmp_path / "c")
    original = found["original_prompt_id"][0]
    assert list(found["prompt_id"]) == [f"{original}-{index}" for index in range(3)]
    assert found["prompt"].nunique() == 3
    body = server.bodies[0]
    assert body["seed"] in list(written(tmp_path / "a")["rewrite_seed"])
    assert (body["temperature"], body["top_p"], body["max_tokens"], body["model"]) == (0.7, 0.9, 256, "tiny")
    assert [each["role"] for each in body["messages"]] == ["system", "user"]


def test_what_has_no_usable_answer_keeps_its_original_and_says_why(tmp_path: Path, server: ImagesServer) -> None:
    prompts = ["a cat", "a busy street", "forbidden", "it declined", "a mute swan", "an endless road", "odd"]
    found = darkroom.rewrite(prompts, tmp_path / "a", **asked_of(server, shard_size=7))
    assert found.by_status == {"empty": 1, "ok": 2, "refused": 3, "too_long": 1}
    rows = written(tmp_path / "a")
    assert list(rows["rewrite_status"]) == ["ok", "ok", "refused", "refused", "empty", "too_long", "refused"]
    assert list(rows["prompt"][2:]) == prompts[2:]
    assert list(rows["rewrite_error"][2:]) == [
        "refused (moderation_blocked): the safety system refuses this prompt",
        "the model answers: I'm sorry, but I can't help with that.",
        "the answer is empty",
        "the answer had not ended after max_new_tokens=256",
        "the server refuses this request: 400, cannot do this, None",
    ]
    assert server.calls["a busy street"] == 3


def test_a_server_that_fails_leaves_a_part_to_the_same_command(tmp_path: Path, server: ImagesServer, capsys) -> None:
    path, to = tmp_path / "p.txt", tmp_path / "a"
    path.write_text("a cat\na flaky dog\na bird\n")
    words = ["prompts=file", f"prompts.uri={path}", f"to={to}", "rewrite=openai", f"rewrite.base_url={server.url}"]
    words += ["rewrite.model=tiny", "rewrite.max_attempts=1", "rewrite.shard_size=2"]
    assert run_here("rewrite", *words) == ExitCode.UNFINISHED
    said = capsys.readouterr()
    assert "missing: 1 files; the same command asks again" in said.out
    assert "part 1 of 2 lacks 1 answers: the server failed: it answered 500, something is wrong here" in said.err
    assert run_here("rewrite", *words) == ExitCode.OK
    assert "asked:   1;" in capsys.readouterr().out
    assert list(written(to)["rewrite_status"]) == ["ok"] * 3


def test_a_server_that_takes_no_request_ends_the_job_and_nothing_is_remembered(
    tmp_path: Path, server: ImagesServer
) -> None:
    for folder in ("a", "b"):
        with pytest.raises(DarkroomError, match=r"none of the first 2 prompts is taken: .* 400, cannot do this"):
            darkroom.rewrite(["odd one", "odd two", "a cat"], tmp_path / folder, **asked_of(server))
        assert [*parts(tmp_path / folder)] == ["_rewrite.json"]
    assert len(server.bodies) == 4
    found = darkroom.rewrite(["a cat", "odd", "odd one", "odd two"], tmp_path / "c", **asked_of(server))
    assert found.by_status == {"ok": 1, "refused": 3}


def test_prompts_are_asked_about_at_once(tmp_path: Path) -> None:
    with serving(num_together=4) as server:
        prompts = some_prompts(8)
        assert len({*prompts}) == 8
        darkroom.rewrite(prompts, tmp_path / "a", **asked_of(server, concurrency=4, shard_size=8))
        assert server.most_at_once == 4


def test_it_goes_on_in_s3_as_on_a_disk(server: ImagesServer, s3_endpoint: str, tmp_path: Path) -> None:
    to, given = "s3://bucket/rewritten", asked_of(server, to_endpoint_url=s3_endpoint)
    darkroom.rewrite(["a cat", "a dog", "a bird"], to, **given)
    again = darkroom.rewrite(["a cat", "a dog", "a bird"], to, **given)
    assert (again.num_parts_before, again.num_asked, again.by_status) == (2, 0, {"ok": 3})
    darkroom.rewrite(["a cat", "a dog", "a bird"], tmp_path / "a", **asked_of(server))
    store = open_store(parse_spec(to, s3_endpoint))
    assert {info.key: store.get(info.key) for info in store.list()} == parts(tmp_path / "a")
    plan = darkroom.plan(to, model="paint", prompts_endpoint_url=s3_endpoint, height=16, width=16)
    assert plan.num_images == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": 0.5}, r"_rewrite\.json: temperature is 0\.7 in the rewriting that is there, and 0\.5 in this"),
        ({"seed": 3}, "seed is 0 in the rewriting that is there, and 3 in this one"),
        ({"instruction": "Shorter."}, "instruction is "),
        ({"model": "other"}, 'model is "tiny" in the rewriting'),
        ({"base_url": "http://127.0.0.1:1/v1"}, "base_url is "),
        ({"shard_size": 5}, "shard_size is 2 in"),
    ],
)
def test_a_folder_of_another_rewriting_is_refused(
    tmp_path: Path, server: ImagesServer, options: dict[str, Any], words: str
) -> None:
    darkroom.rewrite(["a cat"], tmp_path / "a", **asked_of(server))
    with pytest.raises(DarkroomError, match=words):
        darkroom.rewrite(["a cat"], tmp_path / "a", **asked_of(server, **options))


@pytest.mark.parametrize(
    ("prompts", "options", "words"),
    [
        ([{"prompt": "x", "original_prompt": "y"}], {}, "column 'original_prompt' is there already"),
        (["x"], {"num_rewrites": 0}, r"rewrite\.num_rewrites=0 is out of range"),
        (["x"], {"advice": {"light": []}}, r"rewrite\.advice: light=\[\]: give a list of texts"),
        (["x"], {"parameters": ["top_k"]}, r"rewrite\.parameters: 'top_k' is none; give some of temperature"),
        (["x"], {"key_variable": "NO_SUCH_KEY"}, r"rewrite\.key_variable=NO_SUCH_KEY: this process has no such"),
        (["x"], {"base_url": "there"}, r"rewrite\.base_url=there: give an address such as http"),
        (["x"], {"instruction": " "}, r"rewrite\.instruction is empty"),
        (["x"], {"device": "cpu"}, "rewrite: no option 'device'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_asked(
    tmp_path: Path, server: ImagesServer, prompts: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(DarkroomError, match=words):
        darkroom.rewrite(prompts, tmp_path / "a", **asked_of(server, **options))
    assert not server.bodies
    assert not (tmp_path / "a" / "_rewrite.json").exists()


def test_a_server_that_is_not_there_claims_nothing(tmp_path: Path) -> None:
    with pytest.raises(TryAgain, match="cannot be reached"):
        darkroom.rewrite(["x"], tmp_path / "a", rewrite="openai", model="m", base_url="http://127.0.0.1:1/v1")
    assert not parts(tmp_path / "a")


def test_a_folder_that_is_read_or_of_somebody_else_is_refused(tmp_path: Path, server: ImagesServer) -> None:
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "p.txt").write_text("a cat\n")
    with pytest.raises(DarkroomError, match="lies in prompts="):
        darkroom.rewrite(folder, folder / "a", **asked_of(server))
    with pytest.raises(DarkroomError, match=r"p\.txt lies there, and no _rewrite\.json that says it is a rewriting"):
        darkroom.rewrite(["a cat"], folder, **asked_of(server))


def test_a_cache_that_cannot_be_used_is_told_and_costs_only_itself(tmp_path: Path, server: ImagesServer) -> None:
    cache = tmp_path / "cache" / "darkroom" / "rewrites"
    cache.mkdir(parents=True)
    (cache / "answers.sqlite").write_bytes(b"not a database" * 100)
    told: list[Any] = []
    table = pa.table({"prompt": ["a cat", "a dog", "a cat"]})
    found = darkroom.rewrite(table, tmp_path / "a", progress=told.append, **asked_of(server, shard_size=1))
    assert (found.num_asked, found.by_status) == (2, {"ok": 3})
    assert any("answers are not kept for other rewritings" in getattr(event, "text", "") for event in told)
