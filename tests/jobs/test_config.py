"""Configuration as Hydra's users expect it: files and folders of one's own, what is printed, and completion."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from darkroom.domain.errors import DarkroomError
from darkroom.jobs.cli import JOBS, run_job
from darkroom.jobs.completion import completion, line_completion, script
from darkroom.jobs.help import overview
from darkroom.jobs.overrides import composed
from tests.jobs.helpers import run

BIN = Path(sys.executable).parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Groups of a user's own: an experiment, and a model."""
    for name, text in {
        "experiment/mine.yaml": "# @package _global_\ndefaults:\n  - override /model: sdxl\n"
        "sampling: {guidance_scale: 7}\n",
        "model/tuned.yaml": "defaults: [schema, _self_]\nrepo_id: /models/tuned\n",
        "bad/broken.yaml": "# @package _global_\ndefaults:\n  - override /model: nowhere\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return f"--config={path}"


@pytest.mark.slow
def test_a_file_gives_choices_and_values_and_the_command_wins(tmp_path: Path) -> None:
    flag = written(
        tmp_path, "prompts: {kind: file, uri: p.csv}\nmodel: sdxl\nsampling:\n  guidance_scale: 7\n  seed: 3\n"
    )
    config = composed("generate", [flag, "sampling.seed=4"])
    assert config.prompts.uri == "p.csv"
    assert config.model.repo_id == "stabilityai/stable-diffusion-xl-base-1.0"
    assert (config.sampling.guidance_scale, config.sampling.seed) == (7.0, 4)


@pytest.mark.slow
def test_a_choice_and_single_keys_of_one_group_stand_beside_each_other(tmp_path: Path) -> None:
    config = composed("generate", [written(tmp_path, "model: sdxl\nmodel.dtype: bfloat16\n")])
    assert (config.model.variant, config.model.dtype.value) == ("fp16", "bfloat16")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "words"),
    [
        ("generate", ["prompts=file", "prompts.uri=a b.csv", "model=sdxl", "engine=local", "sampling.seed=7"]),
        ("generate", ["prompts=template", "prompts.pattern=a {b} c", "prompts.slots={b: [x, 'y, z']}"]),
        ("sweep", ["grid.axes.guidance_scale=[1,4]", "grid.exclude=[{guidance_scale: 1}]", "evaluate=inline"]),
        ("sweep", ["grid=both", "preset=mlperf-sdxl", "prompts.uri=a.csv", "model=sd15", "prompts.kind=file"]),
        ("evaluate", ["run=r", "extractors=[{name: clip, source: x}]", "expect=[{figure: a.b, lowest: 1}]"]),
    ],
)
def test_what_cfg_job_prints_is_read_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], job: str, words: list[str]
) -> None:
    run_job(job, [*words, "--cfg", "job"])
    flag = written(tmp_path, capsys.readouterr().out)
    assert composed(job, [flag]) == composed(job, words)


@pytest.mark.slow
def test_what_has_no_value_yet_can_be_printed_and_given_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_job("generate", ["prompts=file", "--cfg=job"])
    flag = written(tmp_path, capsys.readouterr().out)
    with pytest.raises(DarkroomError, match=r"prompts\.uri has no value"):
        composed("generate", [flag])
    assert composed("generate", [flag, "prompts.uri=p.csv"]).prompts.uri == "p.csv"


@pytest.mark.slow
def test_a_model_without_its_name_is_not_replaced_by_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_job("generate", ["model=diffusers", "--cfg=job"])
    printed = capsys.readouterr().out
    flag = written(tmp_path, printed)
    with pytest.raises(DarkroomError, match=r"model\.repo_id has no value"):
        composed("generate", [flag])
    run_job("generate", [flag, "--cfg=job"])
    assert capsys.readouterr().out == printed
    assert composed("generate", [flag, "model.repo_id=m"]).model.repo_id == "m"


@pytest.mark.slow
def test_a_choice_of_the_command_wins_over_all_keys_of_the_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_job("generate", ["model=sdxl", "sampling.seed=7", "--cfg=job"])
    flag = written(tmp_path, capsys.readouterr().out)
    config = composed("generate", [flag, "model=sd15"])
    assert (config.model, config.sampling.seed) == (composed("generate", ["model=sd15"]).model, 7)
    assert composed("generate", [flag, "model=sdxl", "model.dtype=float32"]).model.variant == "fp16"


@pytest.mark.slow
def test_what_is_printed_of_a_folders_group_needs_the_folder_no_more(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_job("generate", [f"--config-dir={folder}", "model=tuned", "--cfg=job"])
    assert composed("generate", [written(tmp_path, capsys.readouterr().out)]).model.repo_id == "/models/tuned"


@pytest.mark.slow
@pytest.mark.parametrize("text", ["no", "on", "007", "1e3", "0x1F", "1_000", "12:30", "1.50", "2026-01-01", ".inf"])
def test_a_text_is_what_stands_in_the_file(tmp_path: Path, text: str) -> None:
    lines = f"sampling: {{negative_prompt: {text}}}\nmodel: {{revision: {text}}}\nevaluation: {{metrics: [{text}]}}\n"
    lines += "evaluate: inline\n"
    config = composed("generate", [written(tmp_path, lines)])
    assert (config.sampling.negative_prompt, config.model.revision, config.evaluation.metrics) == (text, text, [text])
    said = [
        f"sampling.negative_prompt={text}",
        f"model.revision={text}",
        f"evaluation.metrics=['{text}']",
        "evaluate=inline",
    ]
    assert config == composed("generate", said)


@pytest.mark.slow
def test_what_is_no_text_is_a_number_or_a_truth_value(tmp_path: Path) -> None:
    text = "engine: {compile: on, shard_size: 1_0}\ngrid: {axes: {guidance_scale: [1e0, 02]}}\nmodel.revision: ~"
    config = composed("sweep", [written(tmp_path, text)])
    assert (config.engine.compile, config.engine.shard_size, config.model.revision) == (True, 10, None)
    assert config.grid.axes.guidance_scale == [1.0, 2]


@pytest.mark.slow
def test_a_file_with_a_defaults_list_is_hydras(tmp_path: Path) -> None:
    text = "defaults:\n  - generate\n  - override model: sd15\n  - _self_\nsampling:\n  guidance_scale: 9\n"
    config = composed("generate", [written(tmp_path, text), "sampling.seed=1"])
    assert config.model.repo_id == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    assert (config.sampling.guidance_scale, config.sampling.seed) == (9.0, 1)


@pytest.mark.slow
def test_groups_of_a_folder_are_found(folder: Path) -> None:
    config = composed("generate", ["--config-dir", str(folder), "+experiment=mine"])
    assert config.model.repo_id == "stabilityai/stable-diffusion-xl-base-1.0"
    assert config.sampling.guidance_scale == 7
    assert composed("generate", [f"--config-dir={folder}", "model=tuned"]).model.repo_id == "/models/tuned"


@pytest.mark.parametrize("name", ["sdxl", "schema"])
def test_a_file_in_the_place_of_darkrooms_own_is_refused(folder: Path, name: str) -> None:
    (folder / "model" / f"{name}.yaml").write_text("repo_id: mine")
    with pytest.raises(DarkroomError, match=f"model={name} is a choice of Darkroom's own; rename the file"):
        composed("generate", [f"--config-dir={folder}"])


@pytest.mark.parametrize("name", ["mine", "mine.yml"])
def test_a_defaults_list_needs_the_ending_that_hydra_reads(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("defaults: [generate, _self_]")
    with pytest.raises(DarkroomError, match=r"where it ends in \.yaml; rename it"):
        composed("generate", ["--config", str(tmp_path / name)])


def test_a_pipe_is_no_file_of_keys() -> None:
    with pytest.raises(DarkroomError, match="no file that can be read twice"):
        composed("generate", ["--config=/dev/null"])


@pytest.mark.slow
def test_an_environment_variable_is_filled_in_from_a_file_as_hydra_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERE", "s3://bucket/run")
    assert composed("generate", [written(tmp_path, "output: {uri: '${oc.env:WHERE}'}")]).output.uri == "s3://bucket/run"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sampling: {guidence_scale: 7}", "did you mean sampling.guidance_scale?"),
        ("model: sdx1", "did you mean model=sdxl?"),
        ("model: [sdxl]", "give one of auraflow, "),
        ("choices: {model: sdx1}", "did you mean model=sdxl?"),
        ("choices: {modle: sdxl}", "choices.modle: no such group of `darkroom generate`; groups are prompts, model"),
        ("choices: {model: {kind: sdxl}}", "give one of auraflow, "),
        ("choices: sdxl", "give groups, such as {model: sdxl}"),
        ("choices: {model: sdxl}\nmodel: sd15", "choices.model is sdxl and model is sd15; give one of them"),
        ("prompts: {uri: p.csv}", "the key needs prompts=file"),
        ("engine: {kind: slurm}", "choices are ray, local"),
        ("engine: {shard_size: many}", "give a whole number"),
        ("sampling: {width: 1}", "out of range"),
        ("output: {uri: 's3://key:secret@bucket/run'}", "output.uri"),
        ("- a\n- b", "it holds a list"),
        ("a: [", "it is no YAML"),
        ("defaults: [status, _self_]", "begin its defaults list with `- generate`"),
        ("defaults: [generate, {override model: nowhere}, _self_]", "nowhere"),
        ("defaults: [generate, _self_]\nsampling: {nothing: 1}", "sampling.nothing: no such key of `darkroom"),
        ("defaults: [generate]\nsampling: {seed: 4}", "lacks `_self_`"),
        ("sampling: {negative_prompt: null}", "sampling.negative_prompt=null: null is no value of it"),
        ("sampling: {seed: null}", "sampling.seed=null: null is no value of it"),
        ("defaults: generate", "mine.yaml: defaults=generate: give a list, such as [generate, "),
        ("defaults: {generate: a}", "give a list, such as [generate, "),
        ("defaults:", "defaults=null: give a list"),
        ("defaults: [1, _self_]", "mine.yaml: begin its defaults list with `- generate`"),
        ("sampling: &a\n  seed: *a", "mine.yaml: sampling.seed holds itself"),
        ("grid: {axes: {seed: &a [1, *a]}}", "mine.yaml: grid.axes.seed[1] holds itself"),
        ("sampling: {negative_prompt: !!set {a, b}}", "sampling.negative_prompt is a set, which has no order"),
        ("sampling.seed: 5\nsampling: {seed: 6}", "mine.yaml: sampling.seed is there twice"),
        ("sampling:", "mine.yaml: sampling has no keys; give some, or leave it out"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DarkroomError) as caught:
        composed("generate", [written(tmp_path, text)])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.slow
def test_a_number_that_yaml_reads_of_a_text_is_refused_where_hydra_reads_the_file(folder: Path) -> None:
    (folder / "experiment" / "mine.yaml").write_text("# @package _global_\nmodel: {revision: 0123}\n")
    (folder / "model" / "tuned.yaml").write_text("defaults: [schema, _self_]\nrepo_id: 007\n")
    (folder / "own.yaml").write_text("defaults: [generate, _self_]\nsampling: {negative_prompt: 1e4}\n")
    flag = f"--config-dir={folder}"
    for words, said in (
        (
            [flag, "+experiment=mine"],
            "mine.yaml: model.revision: 0123 is 83 to YAML, and the key is a text; write '0123'",
        ),
        ([flag, "model=tuned"], "tuned.yaml: model.repo_id: 007 is 7 to YAML"),
        ([f"--config={folder / 'own.yaml'}"], "own.yaml: sampling.negative_prompt: 1e4 is 10000.0 to YAML"),
    ):
        with pytest.raises(DarkroomError, match=re.escape(said)):
            composed("generate", words)
    (folder / "own.yaml").write_text("defaults: [generate, _self_]\nsampling: {negative_prompt: '1e4', seed: 007}\n")
    assert composed("generate", [f"--config={folder / 'own.yaml'}"]).sampling.negative_prompt == "1e4"


@pytest.mark.slow
def test_experiments_may_lie_in_folders(folder: Path) -> None:
    (folder / "experiment" / "deep").mkdir()
    (folder / "experiment" / "mine.yaml").rename(folder / "experiment" / "deep" / "mine.yaml")
    assert composed("generate", ["--config-dir", str(folder), "+experiment=deep/mine"]).sampling.guidance_scale == 7
    (folder / "experiment" / "other.yml").write_text("sampling: {seed: 1}")
    with pytest.raises(DarkroomError, match=r"rename it to other\.yaml"):
        composed("generate", ["--config-dir", str(folder), "+experiment=other"])


def test_a_file_with_a_defaults_list_needs_a_name_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "generate.yaml").write_text("defaults: [generate, _self_]")
    with pytest.raises(DarkroomError, match="rename it"):
        composed("generate", ["--config", str(tmp_path / "generate.yaml")])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["+experiment=mime"], "did you mean +experiment=mine?"),
        (["+experiments=mine"], "did you mean +experiment?"),
        (["experiment=mine"], "write +experiment=mine"),
        (["+bad=broken"], "nowhere"),
        (["model=tune"], "did you mean model=tuned?"),
        (["--config-dri=x"], "flags are --config, "),
        (["--config"], "its value is missing"),
        (["--config", "", "model=sdxl"], "--config: its value is missing; write --config FILE.yaml"),
        (["--config", "."], "--config .: it is a folder; give a YAML file, or a folder of groups as --config-dir"),
        (["--cfg=", "job"], "--cfg: its value is missing; write --cfg job"),
        (["--cfg"], "--cfg: its value is missing; write --cfg job"),
        (["--config", "nowhere.yaml"], "--config nowhere.yaml: no such file"),
        (["--cfg", "hydra"], "give --cfg job"),
    ],
)
def test_a_word_about_files_that_cannot_be_used_is_refused_in_one_line(
    folder: Path, words: list[str], said: str
) -> None:
    with pytest.raises(DarkroomError) as caught:
        run_job("generate", ["--config-dir", str(folder), *words])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sampling: {guidance_scale: 7}", "its keys lie below experiment; begin the file with `# @package _global_`"),
        (
            "# @package _global_\nsampling: {guidence_scale: 7}",
            "did you mean sampling.guidance_scale? Keys of sampling",
        ),
        (
            "# @package _global_\nsampling: {guidance_scale: x}",
            "sampling.guidance_scale=x: give a number",
        ),
        (
            "# @package _global_\nengine: {kind: slurm}",
            "engine.kind=slurm: no such choice; choices are ray, local",
        ),
        ("# @package _global_\ndefaults: [{override model: sdxl}]", "write `override /model`"),
        ("# @package _global_\ndefaults: [{override /modle: sdxl}]", "did you mean model?"),
        ("# @package _global_\ndefaults: [{override /model: sdx1}]", "did you mean model=sdxl?"),
        ("# @package _global_\ndefaults: [{/model: sdxl}]", "use 'override model: sdxl'"),
        ("# @package _global_\ndefaults: generate", "defaults=generate: give a list"),
        ("# @package _global_\nsampling: [", "while parsing a flow node"),
    ],
)
def test_a_group_of_the_users_that_cannot_be_composed_is_named_with_its_remedy(
    folder: Path, text: str, said: str
) -> None:
    (folder / "experiment" / "other.yaml").write_text(text)
    with pytest.raises(DarkroomError) as caught:
        composed("generate", [f"--config-dir={folder}", "+experiment=other"])
    assert str(caught.value).startswith(f"{folder}/experiment/other.yaml: ")
    assert said in str(caught.value)
    assert "object_type" not in str(caught.value)


@pytest.mark.slow
def test_help_shows_the_keys_of_what_is_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    run_job("generate", ["--help"])
    assert "prompts.uri" not in capsys.readouterr().out
    run_job("generate", ["prompts=file", "--help"])
    assert "prompts.uri=..." in capsys.readouterr().out


def test_help_fits_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """But for what cannot be broken: a key with its value, a group with its choices."""
    monkeypatch.setenv("COLUMNS", "40")
    run_job("generate", ["--help"])
    for line in [*capsys.readouterr().out.splitlines(), *overview(JOBS).splitlines()]:
        assert len(line) <= 40 or "=" in line, line


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_every_job_has_help_and_a_configuration(job: str, capsys: pytest.CaptureFixture[str]) -> None:
    run_job(job, ["-h"])
    assert f"usage: darkroom {job}" in capsys.readouterr().out
    run_job(job, ["--cfg", "job"])
    assert OmegaConf.create(capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["ge"], ["generate"]),
        (["mo", "generate"], ["model=", "model."]),
        (["model=sdx", "generate"], ["model=sdxl", "model=sdxl-lightning", "model=sdxl-turbo"]),
        (["sampling.gu", "generate"], [f"sampling.guidance_{end}=" for end in ("scale", "start", "stop", "rescale")]),
        (["prompts.u", "generate"], []),
        (["prompts.u", "generate", "prompts=file"], ["prompts.uri="]),
        (["engine.kind=", "generate"], ["engine.kind=ray", "engine.kind=local"]),
        (["engine.compile=t", "generate"], ["engine.compile=true"]),
        (["--c", "generate"], ["--config", "--config-dir", "--cfg"]),
        (["x", "no_job"], []),
        (["sampling.se", "generate", "model=sdx1", "nothing", "--cfg=x"], ["sampling.seed="]),
        (["prompts.u", "generate", "modl=x", "prompts=file"], ["prompts.uri="]),
        (["", "generate", "--config"], []),
        (["jo", "generate", "--cfg"], ["job"]),
        (["", "completion"], ["bash", "zsh"]),
        (["", "completion", "bash"], []),
        (["compl"], ["completion"]),
        (["ge", "help"], ["generate"]),
        (["sampling.scheduler=euler_k", "generate"], ["sampling.scheduler=euler_karras"]),
        (["sampling.scheduler=euler_a", "generate"], [f"sampling.scheduler=euler_a{end}" for end in ("", "_trailing")]),
        (["evaluation.clip_convention=h", "generate"], ["evaluation.clip_convention=hessel"]),
        (["clip_convention=m", "compare"], ["clip_convention=mlperf"]),
        (["engine.c", "evaluate"], []),
    ],
)
def test_what_may_come_next(words: list[str], found: list[str]) -> None:
    assert completion(words, JOBS) == found


@pytest.mark.slow
def test_groups_of_a_folder_come_next(folder: Path) -> None:
    assert completion(["+exp", "generate", "--config-dir", str(folder)], JOBS) == ["+experiment="]
    assert completion(["model=tu", "generate", f"--config-dir={folder}"], JOBS) == ["model=tuned"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("darkroom ge", ["generate"]),
        (".venv/bin/darkroom generate model=sdx", ["sdxl", "sdxl-lightning", "sdxl-turbo"]),
        ("darkroom generate prompts=file prompts.u", ["prompts.uri="]),
        ("darkroom generate 'prompts=file' prompts.u", ["prompts.uri="]),
        ('darkroom generate sampling.negative_prompt="no hands" sampling.se', ["sampling.seed="]),
        ("darkroom generate output.uri=my\\ run model=pa", ["paint"]),
        ("darkroom generate 'model=sdx", ["model=sdxl", "model=sdxl-lightning", "model=sdxl-turbo"]),
        ('darkroom generate model="sdx', ["sdxl", "sdxl-lightning", "sdxl-turbo"]),
    ],
)
def test_what_bash_may_add_to_a_line(line: str, found: list[str]) -> None:
    assert line_completion(line, JOBS) == found


@pytest.mark.parametrize(
    ("words", "said"), [([], "name a shell"), (["fish"], "fish: no such shell"), (["-h"], "-h: no")]
)
def test_a_shell_without_a_script_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(DarkroomError, match=f"{said}.*; shells are bash, zsh: write eval"):
        script(words)


@pytest.mark.slow
@pytest.mark.parametrize("program", ["darkroom", str(BIN / "darkroom")])
def test_bash_completes(program: str) -> None:
    line = (
        f'eval "$({program} completion bash)"; COMP_WORDS=({program}); COMP_LINE="{program} generate engine.kind=r"; '
        "COMP_POINT=${#COMP_LINE}; _darkroom 2>/dev/null; "
        'echo "${COMPREPLY[@]}"'
    )
    path = os.environ["PATH"] if "/" in program else f"{BIN}{os.pathsep}{os.environ['PATH']}"
    assert _in_shell("bash", line, path) == "ray"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_takes_the_script() -> None:
    text = 'autoload -Uz compinit && compinit -u -D; eval "$(darkroom completion zsh)"; echo "$_comps[darkroom]"'
    assert _in_shell("zsh", text) == "_darkroom"


@pytest.mark.slow
def test_a_job_is_run_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a red square\n")
    flag = written(
        tmp_path,
        "prompts: {kind: file, uri: p.txt}\nmodel: paint\nengine: local\noutput: {uri: out}\n"
        "sampling: {height: 16, width: 16}\n",
    )
    done = run("generate", flag, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "run.json").exists()


def _in_shell(shell: str, text: str, path: str = f"{BIN}{os.pathsep}{os.environ['PATH']}") -> str:
    environment = {**os.environ, "PATH": path}
    done = subprocess.run([shell, "-c", text], env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["generate", "sampling"])
def test_a_file_of_the_folder_that_looks_as_if_it_were_read_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.yaml").write_text("seed: 3\n")
    with pytest.raises(DarkroomError, match=rf"{name}\.yaml: it is not read; "):
        composed("generate", ["--config-dir", str(tmp_path)])


def test_a_jobs_file_may_lie_in_the_folder_that_it_is_given_with(tmp_path: Path) -> None:
    (tmp_path / "generate.yaml").write_text("sampling: {seed: 3}\n")
    words = ["--config", str(tmp_path / "generate.yaml"), "--config-dir", str(tmp_path)]
    assert composed("generate", words).sampling.seed == 3


def test_a_word_without_a_key_is_shown() -> None:
    with pytest.raises(DarkroomError, match=r"=3: no key=value"):
        composed("generate", ["=3"])
