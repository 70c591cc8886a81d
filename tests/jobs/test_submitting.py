"""A job that is handed to a cluster: what is refused here, and what is handed over. No cluster is asked."""

import json
import os
import shlex
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from darkroom.clusters.reach import Names
from darkroom.conf.schema import JOBS, SUBMITTED, SubmitConfig
from darkroom.conf.targets import TARGETS
from darkroom.domain.errors import DarkroomError, TryAgain
from darkroom.jobs.cli import run_job
from darkroom.jobs.completion import completion
from darkroom.jobs.overrides import composed
from darkroom.jobs.places import texts
from tests.jobs.helpers import run_here

SWEEP = ("job=sweep", "output.uri=s3://bucket/run", "grid.axes.guidance_scale=[1,4]")
VERIFY = ("job=verify", "run=s3://bucket/run")
GENERATE = ("job=generate", "output.uri=s3://bucket/run")
DRY = "dry_run=true"
PODS = ("to.image=darkroom",)


def printed(capsys: pytest.CaptureFixture, *words: str) -> str:
    assert run_here("submit", *words, DRY) == 0
    return capsys.readouterr().out


def refusal(*words: str) -> str:
    with pytest.raises(DarkroomError) as caught:
        run_here("submit", *words, DRY)
    return str(caught.value)


def test_no_key_of_submit_is_one_of_a_job_that_it_does() -> None:
    own = set(SubmitConfig.__dataclass_fields__)
    both = {name for job in SUBMITTED for name in JOBS[job].__dataclass_fields__} & own
    assert both == {"to"}  # which is a place, of an export, and has a slash


def test_an_export_goes_to_a_place_and_its_submission_to_a_cluster(capsys: pytest.CaptureFixture) -> None:
    export = ("job=export", "run=s3://b/run", "to=s3://b/set", "layout=webdataset", "engine=ray")
    said = printed(capsys, "to=slurm", *export)
    assert "darkroom export engine=ray run=s3://b/run to=s3://b/set layout=webdataset" in said, said
    assert "to=datasets/x: a relative path is another one on the cluster" in refusal(
        "to=slurm", *export[:2], "to=datasets/x"
    )
    assert "cosine=0.9 is of dedup=embedding" in refusal("to=ray", *export, "cosine=0.9")


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("job=sweep", "grid.axes.guidance=[1]"), "grid.axes.guidance: no such key of `darkroom sweep`; did you mean"),
        ((*GENERATE, "output.quality=80"), "output.quality=80 is of webp and jpeg"),
        (("job=generate",), "output.uri has no value, and a folder of its own choice"),
        ((*GENERATE, "prompts=file", "prompts.uri=p.csv"), "prompts.uri=p.csv: a relative path"),
        (("job=evaluate", "run=runs/x"), "run=runs/x: a relative path is another one on the cluster"),
        (("job=verify", "run=/data/x"), "run=/data/x: the cluster does not see this machine's folders"),
        ((*VERIFY, "endpoint_url=http://127.0.0.1:9000"), "endpoint_url=http://127.0.0.1:9000: 127.0.0.1 is another"),
        (("job=plan",), "job=plan: no such choice; choices are generate, sweep"),
        ((*VERIFY, "run=s3://key:secret@bucket/x"), "run: credentials in an address"),
        (("to=slurm", *GENERATE, "engine.part=1/2"), "engine.part=1/2: to.num_parts divides the run"),
        (("to=slurm", "to.num_parts=2", *VERIFY), "to.num_parts=2: `darkroom verify` has no parts"),
        (("to=kubernetes", *PODS, *VERIFY, "shared=[/mnt/data]"), "shared=[/mnt/data]: pods see a shared folder by a"),
        (("to=kubernetes", *PODS, *VERIFY, "to.claim=data"), "to.claim=data: pods see a shared folder by a volume"),
        (("to=kubernetes", *VERIFY), "to.image has no value"),
        (("to=kuberay", *PODS, *VERIFY, "follow=true"), "follow=true: to=kuberay cannot be waited for"),
        ((*VERIFY, "shared=[data]"), "shared=data: give the absolute path"),
        (("to=ray",), "job has no value"),
        ((*VERIFY, "--config=missing.yaml"), "--config missing.yaml: no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_would_cost_a_cluster_is_refused_here(words: tuple[str, ...], said: str) -> None:
    assert refusal(*words).startswith(said)


def test_places_are_found_wherever_they_are_named() -> None:
    config = composed(
        "sweep",
        [
            "model=openai_images",
            "model.repo_id=x",
            "model.options.base_url=http://localhost:8000/v1",
            "prompts=template",
            "prompts.pattern=see http://localhost {x}",
            "prompts.slots={x: [http://localhost]}",
            "evaluate=inline",
            "model.loras=[darkroom/sketch, {path: ./ink, name: photos}]",
            "grid.axes.single_file=[null, mine.safetensors]",
            "grid.cells=[{repo_id: sd15}]",
            "grid.axes.image=[/a.png]",
            "sampling.mask_image=m.png",
            "sampling.images_uri=pictures",
            "evaluation.reference=demo",
            "halving.figure=x",
            "evaluation.extractors=[demo_clip, {name: inception_v3, source: i.safetensors}]",
        ],
    )
    found = {text.key: text.names for text in texts(config)}
    assert {key for key, names in found.items() if names is Names.MODEL} == {
        "model.repo_id",
        "model.loras[1].path",
        "grid.axes.single_file[1]",
        "grid.cells[0].repo_id",
        "evaluation.extractors[1].source",
    }
    assert {key for key, names in found.items() if names is Names.PICTURE} >= {
        "grid.axes.image[0]",
        "sampling.mask_image",
    }
    assert {key for key, names in found.items() if names is Names.PLACE} == {
        "model.options.base_url",
        "sampling.images_uri",
    }
    assert not {key for key in found if key.startswith(("prompts.pattern", "prompts.slots"))}
    for given, places in (("photos", ["reference"]), ("{a: demo, path: photos}", ["reference.path"])):
        config = composed("evaluate", ["run=x", f"reference={given}"])
        found = [text for text in texts(config) if text.key.startswith("reference")]
        assert [text.key for text in found if text.names is Names.PLACE] == places


def test_what_a_cluster_sees_is_not_refused(capsys: pytest.CaptureFixture) -> None:
    said = printed(
        capsys,
        *SWEEP,
        "shared=[/mnt/data]",
        "prompts=file",
        "prompts.uri=/mnt/data/p.csv",
        "model=sdxl",
        "model.loras=[darkroom/sketch, someone/ink, /mnt/data/oil.safetensors]",
        "evaluate=inline",
        "evaluation.reference=demo",
        "output.endpoint_url=http://store:9000",
        "sampling.negative_prompt=http://localhost is no address here",
    )
    name, command = said.splitlines()
    assert name.startswith("darkroom-sweep-")
    assert name.endswith("-<attempt>")
    assert shlex.split(command)[:2] == ["darkroom", "sweep"]


@pytest.mark.slow
def test_the_users_files_are_not_needed_there(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "mine.yaml").write_text("model: sdxl\nsampling: {seed: 7}\noutput: {uri: 's3://b/${sampling.seed}'}\n")
    said = printed(capsys, "job=generate", "--config", str(tmp_path / "mine.yaml"))
    assert said.splitlines()[1] == "darkroom generate model=sdxl sampling.seed=7 output.uri=s3://b/7"
    assert printed(capsys, "job=generate", "output.uri=s3://b/7", "sampling.seed=7", "model=sdxl") == said


def test_code_and_endpoints_that_are_not_sent_are_warned_of(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    assert run_here("submit", *GENERATE, "model=plugin", "model.make=mine:make", DRY) == 0
    said = capsys.readouterr().err
    assert "warning: model.make=mine:make: its code is not sent" in said
    assert "warning: AWS_ENDPOINT_URL is set here and not passed on" in said


@pytest.mark.parametrize("to", TARGETS)
def test_no_secret_is_handed_over(to: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        name: f"secret-of-{name.lower()}"
        for name in (
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "HF_TOKEN",
            "RAY_AUTH_TOKEN",
            "OPENAI_API_KEY",
            "AZURE_STORAGE_ACCOUNT_KEY",
        )
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    pods = (*PODS, "to.secret=store") if to.startswith("kube") else ()
    said = printed(capsys, f"to={to}", *pods, *VERIFY)
    assert "darkroom" in said
    assert "secret-of" not in said


# What is handed over -------------------------------------------------------------------------------------------------

WORDS = (
    *GENERATE,
    "prompts=template",
    'prompts.pattern=it\'s a $HOME `id` $(id) "{colour}"',
    "prompts.slots={colour:[red]}",
)


def arguments_of(script: str, tmp_path: Path, **environment: str) -> list[str]:
    """What `darkroom` is given by a shell that runs the script."""
    program = tmp_path / "darkroom"
    program.write_text('#!/bin/sh\nfor word in "$@"; do printf "%s\\0" "$word"; done\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": path, "HOME": "/root", **environment},
    )
    return done.stdout.split("\0")[:-1]


def expected(*others: str) -> list[str]:
    return ["generate", "prompts=template", "engine=local", *WORDS[3:], "output.uri=s3://bucket/run", *others]


def test_slurm_runs_each_part_with_the_very_words(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    script = printed(capsys, "to=slurm", "to.num_parts=8", "to.program=darkroom", "to.gpus_per_task=1", *WORDS)
    assert "#SBATCH --array=1-8\n" in script
    assert "#SBATCH --gpus-per-task=1\n" in script
    assert "#SBATCH --export=NONE\n" in script
    found = arguments_of(script, tmp_path, SLURM_ARRAY_TASK_ID="3")
    assert sorted(found) == sorted(expected("engine.part=3/8"))


def test_kubernetes_runs_each_part_with_the_very_words(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    job = yaml.safe_load(printed(capsys, "to=kubernetes", "to.num_parts=8", *PODS, *WORDS))
    container = job["spec"]["template"]["spec"]["containers"][0]
    words = [word.replace("$$(", "$(") for word in [*container["command"], *container["args"]]]  # as Kubernetes does
    found = arguments_of(shlex.join(words), tmp_path, JOB_COMPLETION_INDEX="0")
    assert sorted(found) == sorted(expected("engine.part=1/8"))
    assert job["spec"]["completions"] == 8


def test_sky_runs_each_part_with_the_very_words(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    task = yaml.safe_load(printed(capsys, "to=sky", "to.num_parts=2", "to.accelerators=A100:1", *WORDS))
    found = arguments_of(task["run"], tmp_path, SKYPILOT_NODE_RANK="1")
    assert sorted(found) == sorted(expected("engine.part=2/2"))
    assert task["num_nodes"] == 2


def test_kuberay_submits_the_very_words(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    job = yaml.safe_load(printed(capsys, "to=kuberay", "to.num_workers=3", *PODS, *WORDS))
    found = arguments_of(job["spec"]["entrypoint"], tmp_path)
    assert sorted([*found, "engine=local"]) == sorted(expected())  # on Ray, as by default
    assert job["spec"]["jobId"] == job["metadata"]["name"]


def test_an_engine_that_is_chosen_stays(capsys: pytest.CaptureFixture) -> None:
    said = printed(capsys, "to=slurm", "to.num_parts=2", *GENERATE, "engine=ray", "engine.num_workers=4")
    assert "engine=local" not in said
    assert "engine.num_workers=4" in said


# Programs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of the PATH, and the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def make(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(("to", "program"), [("slurm", "sbatch"), ("kubernetes", "kubectl"), ("sky", "sky")])
def test_a_missing_program_is_named(to: str, program: str, programs: Path) -> None:
    pods = PODS if to == "kubernetes" else ()
    with pytest.raises(DarkroomError, match=rf"{program}: no such program on the PATH; .*, or add dry_run=true"):
        run_here("submit", f"to={to}", *pods, *VERIFY)
    assert list(programs.iterdir()) == []


def test_sbatch_takes_the_script_and_its_exit_code_is_the_jobs(programs: Path, capsys: pytest.CaptureFixture) -> None:
    make(programs, "squeue", "exit 0")
    make(programs, "sbatch", 'echo "$@"; exit 3')
    assert run_here("submit", "to=slurm", *VERIFY) == 3
    [script] = programs.glob("*.sbatch")
    said = capsys.readouterr().out
    assert f"stop: scancel --name={script.stem}" in said
    assert script.stem.endswith("-1")


def test_a_submission_that_fails_is_no_result_of_the_job(programs: Path) -> None:
    make(programs, "kubectl", """if [ "$1" = get ]; then echo '{"items": []}'; else exit 1; fi""")
    with pytest.raises(DarkroomError, match=r"`kubectl apply --filename=.*` ended with exit code 1; see"):
        run_here("submit", "to=kubernetes", *PODS, *VERIFY)


def test_an_attempt_that_has_not_ended_is_not_made_again(programs: Path) -> None:
    make(programs, "squeue", "exit 0")
    make(programs, "sbatch", "exit 0")
    assert run_here("submit", "to=slurm", "follow=false", *VERIFY) == 0
    [first] = programs.glob("*.sbatch")
    make(programs, "squeue", f"echo {first.stem} RUNNING; echo {first.stem} COMPLETED")
    with pytest.raises(TryAgain, match=f"{first.stem} has not ended; wait, or stop it: scancel --name={first.stem}"):
        run_here("submit", "to=slurm", *VERIFY)
    make(programs, "squeue", f"echo {first.stem} TIMEOUT")
    assert run_here("submit", "to=slurm", *VERIFY) == 0
    assert sorted(path.stem for path in programs.glob("*.sbatch")) == [first.stem, f"{first.stem[:-1]}2"]


def test_kubectl_is_asked_for_attempts_and_given_the_next(programs: Path) -> None:
    found = {"items": []}
    make(
        programs,
        "kubectl",
        'if [ "$1" = get ]; then while read -r line; do echo "$line"; done < found; fi; echo "$@" >> asked',
    )
    (programs / "found").write_text(f"{json.dumps(found)}\n")
    words = ("to=kubernetes", "to.namespace=here", *PODS, *VERIFY)
    assert run_here("submit", *words) == 0
    [first] = programs.glob("*.yaml")
    done = {"conditions": [{"type": "Complete", "status": "True"}]}
    (programs / "found").write_text(f"{json.dumps({'items': [{'metadata': {'name': first.stem}, 'status': done}]})}\n")
    assert run_here("submit", *words) == 0
    asked = (programs / "asked").read_text().splitlines()
    assert asked[1] == f"apply --filename={first.name} --namespace=here"
    assert asked[3] == f"apply --filename={first.stem[:-1]}2.yaml --namespace=here"
    (programs / "found").write_text(f"{json.dumps({'items': [{'metadata': {'name': first.stem}, 'status': {}}]})}\n")
    with pytest.raises(TryAgain, match=r"has not ended; .*: kubectl delete jobs\.batch"):
        run_here("submit", *words)


# Asking --------------------------------------------------------------------------------------------------------------


def test_help_and_configuration_are_of_submit(capsys: pytest.CaptureFixture) -> None:
    assert run_job("submit", ["to=slurm", "--help"]) == 0
    assert "to.num_parts=1" in capsys.readouterr().out
    assert run_job("submit", ["to=slurm", "job=sweep", "sampling.seed=${x}", "--cfg", "job"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["job_words"] == ["sampling.seed=\\${x}"]


def test_completion_knows_the_jobs_own_keys() -> None:
    assert "to=kuberay" in completion(["to=", "submit"], JOBS)
    assert "job=sweep" in completion(["job=s", "submit"], JOBS)
    assert "grid.axes." in completion(["grid.", "submit", "to=slurm", "job=sweep"], JOBS)
    assert "sampling.seed=" in completion(["sampling.s", "submit", "job=generate", "model=sdxl"], JOBS)
    assert completion(["grid.", "submit", "job=generate"], JOBS) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [(("stop=true",), "stop=true: name the job"), (("id=x", "stop=true", "follow=true"), "stop=true and follow=true")],
)
def test_what_is_asked_of_jobs_is_checked(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(DarkroomError, match=said):
        run_here("jobs", *words)
