"""The calls of `import darkroom`: quiet, in a thread, twice in one process, and stopped by their callback."""

import inspect
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import darkroom
from darkroom.api import events
from darkroom.domain.errors import DarkroomError

PAINT: dict[str, Any] = {"model": "paint", "height": 16, "width": 16}
AXES = {"guidance_scale": [1, 3]}
PROMPTS = [f"prompt {number}" for number in range(8)]


def test_importing_loads_nothing_heavy() -> None:
    code = "import sys, darkroom; dir(darkroom); print([m for m in sys.argv[1:] if m in sys.modules])"
    heavy = ["torch", "ray", "diffusers", "transformers", "pandas", "pyarrow", "numpy", "hydra", "boto3"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_name_is_there() -> None:
    for name in darkroom.__all__:
        assert getattr(darkroom, name), name
    with pytest.raises(AttributeError, match="generat"):
        darkroom.generat  # noqa: B018


def test_a_signature_names_the_settings_with_their_defaults() -> None:
    for call in (darkroom.generate, darkroom.sweep, darkroom.plan):
        known = inspect.signature(call).parameters
        assert known["guidance_scale"].default is None
        assert known["num_images_per_prompt"].default == 1
        assert known["trust_remote_code"].default is False


@pytest.mark.slow
def test_nothing_is_printed_and_no_signal_is_touched(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    run = darkroom.generate(PROMPTS, out=tmp_path / "run", evaluate={"metrics": ["clip_score"]}, **PAINT)
    run.report()
    run.compare(run)
    darkroom.plan(PROMPTS, out=tmp_path / "run", **PAINT)
    assert capfd.readouterr() == ("", "")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.slow
def test_the_same_call_goes_on_and_another_one_is_refused(tmp_path: Path) -> None:
    said: list[Any] = []
    first = darkroom.generate(PROMPTS, out=tmp_path / "run", **PAINT)
    second = darkroom.generate(iter(PROMPTS), out=tmp_path / "run", progress=said.append, **PAINT)
    assert first.records.equals(second.records)
    [started] = [event for event in said if isinstance(event, events.RenderingStarted)]
    assert (started.num_images, started.num_committed) == (0, 1)
    with pytest.raises(DarkroomError, match=r"guidance_scale is 5\.0 in this run and 7\.0"):
        darkroom.generate(PROMPTS, out=tmp_path / "run", guidance_scale=7, **PAINT)


@pytest.mark.slow
def test_the_default_folder_is_that_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.jobs.helpers import run_here

    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.txt").write_text("a cat\n")
    run = darkroom.generate("p.txt", **PAINT)
    words = ("prompts=file", "prompts.uri=p.txt", "model=paint", "sampling.height=16", "sampling.width=16")
    assert run_here("generate", *words, "engine=local") == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [Path(run.uri).name]
    assert Path(run.uri).name.startswith("file-paint-")


@pytest.mark.slow
def test_progress_is_told_in_order_and_reaches_the_end(tmp_path: Path) -> None:
    said: list[Any] = []
    options = darkroom.EngineOptions(shard_size=3)
    darkroom.generate(PROMPTS, out=tmp_path / "run", engine=options, progress=said.append, **PAINT)
    done = [event for event in said if isinstance(event, events.Progressed)]
    assert [(event.num_done, event.num_images) for event in done][-1] == (8, 8)
    kinds = [type(event) for event in said]
    assert kinds.index(events.Prepared) < kinds.index(events.RenderingStarted) < kinds.index(events.RenderingEnded)


@pytest.mark.slow
def test_a_callback_that_raises_stops_the_work_and_the_same_call_goes_on(tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def stop(event: Any) -> None:
        if isinstance(event, events.Progressed) and event.num_done >= 4:
            raise Enough

    options = darkroom.EngineOptions(shard_size=1)
    with pytest.raises(Enough):
        darkroom.generate(PROMPTS, out=tmp_path / "run", engine=options, progress=stop, **PAINT)
    half = darkroom.open_run(tmp_path / "run").status()
    assert 4 <= half.num_committed < 8
    assert darkroom.generate(PROMPTS, out=tmp_path / "run", engine=options, **PAINT).status().is_finished


@pytest.mark.slow
def test_an_interrupt_comes_out_and_the_same_call_goes_on(tmp_path: Path) -> None:
    def interrupt(event: Any) -> None:
        if isinstance(event, events.Progressed):
            raise KeyboardInterrupt

    options = darkroom.EngineOptions(shard_size=1)
    with pytest.raises(KeyboardInterrupt):
        darkroom.generate(PROMPTS, out=tmp_path / "run", engine=options, progress=interrupt, **PAINT)
    run = darkroom.generate(PROMPTS, out=tmp_path / "run", engine=options, **PAINT)
    assert sorted(run.records["prompt"]) == PROMPTS


@pytest.mark.slow
def test_a_call_right_after_an_interrupt_waits_for_the_batch_that_is_under_way(tmp_path: Path) -> None:
    """Its thread cannot be ended, and what loads a model meanwhile would take the data from its parameters."""

    def interrupt(event: Any) -> None:
        if isinstance(event, events.Progressed):  # the next shard's batch is on the device by now
            raise KeyboardInterrupt

    given = {"out": tmp_path / "run", "engine": darkroom.EngineOptions(shard_size=4), "num_inference_steps": 6}
    prompts = ["a red circle"] * 16
    with pytest.raises(KeyboardInterrupt):
        darkroom.generate(prompts, progress=interrupt, **given)
    assert darkroom.generate(prompts, **given).status().by_status == {"ok": 16}


INTERRUPTED = """
import signal, sys, threading
import darkroom
from darkroom.engine.tasks import WorkerReady

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is started without it

def interrupt(event):
    if isinstance(event, WorkerReady):  # two shards are under way by the time it comes
        threading.Timer(0.5, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT]).start()

try:
    darkroom.generate(
        [f"prompt {number}" for number in range(32)], model="paint", height=2048, width=2048, out=sys.argv[1],
        engine=darkroom.EngineOptions(shard_size=8), progress=interrupt,
    )
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.slow
def test_an_interrupted_program_can_end(tmp_path: Path) -> None:
    """No thread of a worker that was closed waits for ever: a program has no `os._exit` as the command has."""
    words = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "run")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "interrupted\n"


@pytest.mark.slow
def test_two_threads_render_at_once(tmp_path: Path) -> None:
    runs: dict[str, darkroom.Run] = {}

    def work(name: str) -> None:
        runs[name] = darkroom.generate(PROMPTS, out=tmp_path / name, **PAINT)

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    digests = [sorted(run.records["sha256"]) for run in runs.values()]
    assert digests[0] == digests[1]
    assert len(digests) == 2


LOADING_AT_ONCE = """
import sys
from concurrent.futures import ThreadPoolExecutor
import darkroom

def work(name):
    run = darkroom.generate(
        ["a red circle"], out=f"{sys.argv[1]}/{name}", num_inference_steps=1, evaluate=name % 2 == 0
    )
    return run.status().by_status["ok"]

with ThreadPoolExecutor(4) as pool:
    print(list(pool.map(work, range(4))))
"""


@pytest.mark.slow
def test_threads_may_load_models_at_once(tmp_path: Path) -> None:
    """In a process that has loaded nothing yet, where transformers still imports its parts."""
    words = [sys.executable, "-c", LOADING_AT_ONCE, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("[1, 1, 1, 1]\n", 0), done.stderr


def test_a_plan_says_what_would_be_made(tmp_path: Path) -> None:
    found = darkroom.plan(PROMPTS, out=tmp_path / "run", num_images_per_prompt=3, **PAINT)
    assert (found.num_images, found.num_shards, found.model.repo_id) == (24, 1, "darkroom/paint")
    assert found.num_bytes
    assert found.cost
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda out: darkroom.generate(PROMPTS, out=out, guidance=3, **PAINT), "did you mean guidance_scale?"),
        (lambda out: darkroom.generate(PROMPTS, out=out, model="nowhere/at/all"), "nowhere/at/all"),
        (lambda out: darkroom.generate(PROMPTS, out=out, repo_id="x", **PAINT), "name the model as model="),
        (lambda out: darkroom.generate(PROMPTS, out=out, engine="rays", **PAINT), "choices are local, ray"),
        (lambda out: darkroom.sweep(PROMPTS, out=out, **PAINT), "axes and cells are empty; give axes"),
        (lambda out: darkroom.sweep(PROMPTS, out=out, axes={"guidance_scale": []}, **PAINT), "has no value"),
        (lambda out: darkroom.sweep(PROMPTS, out=out, axes={"guidance": [1]}, **PAINT), "no setting 'guidance'"),
        (lambda out: darkroom.generate(PROMPTS, out=b"x"), "out=b'x': give a text or a path or None"),
        (lambda out: darkroom.generate(PROMPTS, model=3), "model=3: give a text or a path or ModelRef"),
        (lambda out: darkroom.generate(PROMPTS, engine=3), r"choices are local, ray, EngineOptions\(...\), a dict$"),
        (lambda out: darkroom.generate(PROMPTS, engine={"workers": 2}), "^engine: no option 'workers'; did"),
        (lambda out: darkroom.generate(PROMPTS, engine={"num_workers": 2}), "^engine.num_workers=2: engine=local is"),
        (lambda out: darkroom.generate(PROMPTS, progress=3), "progress=3: give a function or None"),
        (lambda out: darkroom.generate(PROMPTS, evaluate="yes"), "evaluate='yes': give True or False or Evaluation"),
        (lambda out: darkroom.generate(PROMPTS, evaluate={"expect": [3]}), r"expect\[0\]=3: give Expectation"),
        (lambda out: darkroom.generate(PROMPTS, evaluate={"metrics": [3]}), r"metrics\[0\]=3: give a text"),
        (lambda out: darkroom.generate(PROMPTS, evaluate={3: 4}), "evaluate: the key=3: give a text"),
        (
            lambda out: darkroom.generate(PROMPTS, layout="zip"),
            "layout='zip': .* choices are files, webdataset, parquet",
        ),
        (lambda out: darkroom.generate(PROMPTS, quality="high"), "quality='high': give a whole number"),
        (lambda out: darkroom.generate(PROMPTS, columns=["a"]), r"columns=\['a'\]: give a dict or None"),
        (lambda out: darkroom.generate(PROMPTS, columns={"prompt": 3}), r"columns\['prompt'\]=3: give a text or None"),
        (lambda out: darkroom.sweep(PROMPTS, axes=["a"]), r"axes=\['a'\]: give a dict or None"),
        (lambda out: darkroom.sweep(PROMPTS, axes={"guidance_scale": 3}), r"axes\['guidance_scale'\]=3: give a list"),
        (lambda out: darkroom.sweep(PROMPTS, axes={3: [3]}), "axes: the key=3: give a text"),
        (
            lambda out: darkroom.sweep(PROMPTS, axes={"gamma": [[1]]}),
            r"grid cell \(gamma=\[1\]\): no setting 'gamma' tells cells apart",
        ),
        (lambda out: darkroom.sweep(PROMPTS, cells={"eta": 1}), "cells={'eta': 1}: give a list"),
        (lambda out: darkroom.sweep(PROMPTS, exclude=[3]), r"exclude\[0\]=3: give a dict"),
        (lambda out: darkroom.sweep(PROMPTS, mode="sum"), "mode='sum': no such choice; choices are product, zip"),
        (lambda out: darkroom.sweep(PROMPTS, num_cells=-1), "num_cells=-1: give a whole number from 1 on or None"),
        (lambda out: darkroom.sweep(PROMPTS, draw_seed="x"), "draw_seed='x': give a whole number"),
        (lambda out: darkroom.sweep(PROMPTS, halving=3), r"halving=3: give HalvingOptions\(...\) or a dict or None"),
        (lambda out: darkroom.sweep(PROMPTS, halving={}), "halving: figure is missing"),
        (lambda out: darkroom.report(out, num_prompts=-1), "num_prompts=-1: give a whole number from 1 on"),
        (lambda out: darkroom.template("a {c}", {"c": ["x"]}, num_prompts=-1), "num_prompts=-1: give a whole number"),
        (lambda out: darkroom.template("a {c}", ["x"]), r"slots=\['x'\]: give a dict"),
        (lambda out: darkroom.open_run(3), "uri=3: give a text or a path or Run"),
        (lambda out: darkroom.compare(out, out, a_cell=3), "a_cell=3: give a text or None"),
        (lambda out: darkroom.EngineOptions(num_workers=4), "engine.num_workers=4: engine=local is one worker"),
        (lambda out: darkroom.EngineOptions(address="auto"), "engine.address=auto: engine=local is one worker"),
        (lambda out: darkroom.sweep(PROMPTS, axes={"height": [8]}, height=16), "^height=16: it is an axis of the grid"),
        (
            lambda out: darkroom.sweep(
                PROMPTS, model=darkroom.ModelRef("darkroom/demo", loras=["a"]), axes={"loras": [["b"]]}
            ),
            r"^loras=\[a\]: it is an axis of the grid as well; leave one of them out",
        ),
        (lambda out: darkroom.Expectation("x.y", lowest="low"), "lowest='low': give a number"),
        (lambda out: darkroom.generate(PROMPTS, out=out, model=Path("demo")), "/demo"),
        (lambda out: darkroom.generate(Path("demo"), out=out), "prompts=demo: no such file"),
        (
            lambda out: darkroom.sweep(PROMPTS, out=out, axes=AXES, exclude=[{"guidance_scal": 1}], **PAINT),
            "mean guidance_scale",
        ),
        (
            lambda out: darkroom.sweep(PROMPTS, out=out, axes=AXES, exclude=[{"guidance_scale": 4}], **PAINT),
            "no cell is left",
        ),
        (
            lambda out: darkroom.sweep(PROMPTS, out=out, axes={"model": ["paint"]}, **PAINT),
            "name the models of cells as repo_id, a preset",
        ),
        (
            lambda out: darkroom.sweep(PROMPTS, out=out, axes=AXES, exclude=[{"model": "paint"}], **PAINT),
            "exclude: name the models of cells as repo_id, a preset",
        ),
        (lambda out: darkroom.evaluate(out, metric=["x"]), "does not exist"),
        (lambda out: darkroom.compare(out, out), "does not exist"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(call: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(DarkroomError, match=words) as caught:
        call(tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("is_joined", [False, True], ids=["a Ray of its own", "a Ray that the caller has joined"])
def test_ray_is_used_twice_and_left_as_it_was_found(tmp_path: Path, is_joined: bool) -> None:
    import ray

    if is_joined:
        ray.init(num_cpus=2, include_dashboard=False, logging_level="warning")
    try:
        options = darkroom.EngineOptions(kind="ray", num_workers=1, shard_size=4)
        for name in ("a", "b"):
            run = darkroom.generate(PROMPTS, out=tmp_path / name, engine=options, **PAINT)
            assert run.status().is_finished
            assert ray.is_initialized() is is_joined
        if is_joined:
            options = darkroom.EngineOptions(kind="ray", address="10.255.255.1:6379")
            with pytest.raises(DarkroomError, match=r"engine.address=10.255.255.1:6379: this process is in the Ray at"):
                darkroom.generate(PROMPTS, out=tmp_path / "c", engine=options, **PAINT)
    finally:
        ray.shutdown()
    assert set(run.records["worker"]) == {"worker 1"}


@pytest.mark.slow
def test_two_threads_share_one_ray(tmp_path: Path) -> None:
    """The one that started it may end first: Linux kills what a thread has started when it ends."""
    import ray

    options = darkroom.EngineOptions(kind="ray", num_workers=1, shard_size=2)
    runs: dict[str, darkroom.Run] = {}
    first_is_on, first_is_gone = threading.Event(), threading.Event()

    def first(_: Any) -> None:
        first_is_on.set()

    def second(_: Any) -> None:
        first_is_gone.wait(60)

    def work(name: str, count: int, progress: Any) -> None:
        runs[name] = darkroom.generate(PROMPTS[:count], out=tmp_path / name, engine=options, progress=progress, **PAINT)

    threads = [threading.Thread(target=work, args=given) for given in (("a", 2, first), ("b", 8, second))]
    threads[0].start()
    first_is_on.wait(60)
    threads[1].start()
    threads[0].join()
    first_is_gone.set()
    threads[1].join()
    assert [runs[name].status().is_finished for name in "ab"] == [True, True]
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": "demo", "revision": "v9"}, "revision=v9: darkroom/demo is no model of a hub; leave it out"),
        ({"model": "paint", "dtype": "float16"}, "dtype=float16: the painter has no weights; leave it out"),
        ({"model": "demo", "variant": "fp16"}, "no safetensors weights of variant=fp16; leave the variant out"),
    ],
)
def test_a_setting_of_a_model_that_nothing_would_read_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(DarkroomError, match=said):
        darkroom.plan(PROMPTS, **settings)
