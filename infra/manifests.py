"""Writes the manifests of infra/clusters: each is what `darkroom submit ... dry_run=true` prints.

python -m infra.manifests
"""

import io
import shlex
from contextlib import redirect_stdout
from importlib.metadata import version
from pathlib import Path

from omegaconf import OmegaConf

from darkroom.clusters.kubernetes import ray_cluster
from darkroom.clusters.targets import manifest
from darkroom.jobs.cli import run_job
from darkroom.jobs.overrides import composed

CLUSTERS = Path(__file__).parent / "clusters"
_POD = ("to.image=registry.example/darkroom", "to.num_gpus=1", "to.service_account=darkroom")
_JOB = ("job=generate", "model=sdxl")
_IN_A_BUCKET = (*_JOB, "output.uri=s3://bucket/runs/first")
_COMMANDS = {
    "rayjob.yaml": ("to=kuberay", *_POD, "to.num_workers=4", *_IN_A_BUCKET),
    "job.yaml": ("to=kubernetes", *_POD, "to.num_parts=8", *_IN_A_BUCKET),
    "darkroom.sbatch": (
        "to=slurm", "to.num_parts=8", "to.gpus_per_task=1", "to.time=12:00:00",
        "to.program=/shared/venv/bin/darkroom", "shared=[/shared]", *_JOB, "output.uri=/shared/runs/first",
    ),
    "sky.yaml": (
        "to=sky", "to.num_parts=4", "to.accelerators=A100:1", "to.use_spot=true",
        "to.image=registry.example/darkroom", *_IN_A_BUCKET,
    ),
}  # fmt: skip
_STANDING = ("to=kuberay", *_POD, "to.num_workers=4", "job=generate")


def texts() -> dict[str, str]:
    """Name of a file -> what is in it."""
    found = {name: _with_command(_printed(words), words) for name, words in _COMMANDS.items()}
    keys = OmegaConf.to_container(composed("submit", _STANDING).to)
    assert isinstance(keys, dict)
    cluster = manifest(ray_cluster({str(name): value for name, value in keys.items()}, "darkroom", [], version("ray")))
    return found | {
        "raycluster.yaml": f"# The cluster of rayjob.yaml, to stay: for `darkroom submit to=ray`\n{cluster}"
    }


def _printed(words: tuple[str, ...]) -> str:
    with redirect_stdout(io.StringIO()) as out:
        run_job("submit", [*words, "dry_run=true"])
    return out.getvalue()


def _with_command(text: str, words: tuple[str, ...]) -> str:
    """A shell's first line stays the first."""
    first, rest = text.split("\n", 1) if text.startswith("#!") else ("", text)
    command = shlex.join(["darkroom", "submit", *words])
    return "\n".join([*([first] if first else []), f"# {command}", rest])


if __name__ == "__main__":
    for name, text in texts().items():
        (CLUSTERS / name).write_text(text)
