"""Where a job is submitted to: the keys of each choice of `to`."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from darkroom.conf.keys import key

_COUNTS: dict[str, Any] = {"low": 1, "high": 100_000}
_SECONDS: dict[str, Any] = {"low": 0, "high": 10**9}
_AMOUNTS: dict[str, Any] = {"low": 0, "high": 100_000}
_PROGRAM_HELP = "What starts Darkroom there: a name on its PATH, or a path."
_WRITE_TO_HELP = "The file that is written and handed on; null: one in the working directory, named as the submission."
_PARTS_HELP = (
    "Tasks that render the run side by side, each a part of it by engine.part, and with engine=local where no engine "
    "is chosen; 1: one task that does all."
)


class TargetKind(Enum):
    ray = "ray"
    kuberay = "kuberay"
    kubernetes = "kubernetes"
    slurm = "slurm"
    sky = "sky"


@dataclass
class RayAddress:
    """Of a cluster that is running."""

    address: str | None = key(
        None,
        help="Address of the cluster's Jobs API, such as http://head:8265; null: what RAY_API_SERVER_ADDRESS or "
        "RAY_ADDRESS names, else the Ray that runs on this machine.",
    )


@dataclass
class _Entrypoint:
    """What Ray keeps for a job's own process."""

    entrypoint_num_cpus: float | None = key(
        None, **_AMOUNTS, help="CPUs for the job's own process, beside its workers."
    )
    entrypoint_num_gpus: float | None = key(
        None, **_AMOUNTS, help="GPUs for the job's own process, which renders in verify and repair."
    )


@dataclass
class RayTarget(_Entrypoint, RayAddress):
    kind: TargetKind = key(TargetKind.ray, help="A Ray cluster that is running, by its Jobs API.")
    program: str = key("darkroom", help=_PROGRAM_HELP)


@dataclass
class _Pods:
    """What Kubernetes runs."""

    image: str = key(help="The image that every pod runs, made from infra/Dockerfile.")
    namespace: str | None = key(None, help="Where it runs; null: as kubectl is set up.")
    num_cpus: int = key(4, **_COUNTS, help="CPUs of each worker.")
    num_gpus: int = key(0, **_AMOUNTS, help="NVIDIA GPUs of each worker.")
    memory: str = key("16Gi", help="Memory of each worker, as Kubernetes writes it.")
    service_account: str | None = key(
        None, help="The service account of the pods, whose cloud role may reach the store; null: the namespace's own."
    )
    secret: str | None = key(
        None, help="The Secret whose keys are the pods' environment, such as AWS_ACCESS_KEY_ID; null: none."
    )
    claim: str | None = key(
        None, help="The PersistentVolumeClaim that is mounted at the one folder of `shared`; null: none."
    )
    program: str = key("darkroom", help=_PROGRAM_HELP)
    write_to: str | None = key(None, is_place=True, help=_WRITE_TO_HELP)


@dataclass
class KubeRayTarget(_Entrypoint, _Pods):
    kind: TargetKind = key(TargetKind.kuberay, help="A RayJob: a Ray cluster that KubeRay makes for the job alone.")
    num_workers: int = key(1, **_COUNTS, help="Worker pods beside the head.")
    keep_s: int = key(600, **_SECONDS, help="Seconds that the cluster, and with it the log, outlives the job.")


@dataclass
class KubernetesTarget(_Pods):
    kind: TargetKind = key(TargetKind.kubernetes, help="An Indexed Job: pods without Ray, each a part of the run.")
    num_parts: int = key(1, **_COUNTS, help=_PARTS_HELP)
    keep_s: int = key(86_400, **_SECONDS, help="Seconds that the Job and its log are kept after its end.")


@dataclass
class SlurmTarget:
    kind: TargetKind = key(TargetKind.slurm, help="An array of batch jobs, by sbatch.")
    num_parts: int = key(1, **_COUNTS, help=_PARTS_HELP)
    partition: str | None = key(None, help="The partition; null: the cluster's default.")
    account: str | None = key(None, help="The account; null: the user's default.")
    time: str | None = key(None, help="The longest time, such as 12:00:00; null: the partition's.")
    cpus_per_task: int = key(1, **_COUNTS, help="CPUs of each task.")
    gpus_per_task: int = key(0, **_AMOUNTS, help="GPUs of each task.")
    mem: str | None = key(None, help="Memory of each task, such as 32G; null: the partition's.")
    setup: str | None = key(None, help="A line of shell before the job, such as `module load cuda`; null: none.")
    program: str | None = key(None, help=f"{_PROGRAM_HELP} null: the path of the one that submits.")
    write_to: str | None = key(None, is_place=True, help=_WRITE_TO_HELP)


@dataclass
class SkyTarget:
    kind: TargetKind = key(TargetKind.sky, help="Machines of a cloud, by SkyPilot's managed jobs.")
    infra: str | None = key(None, help="Where, such as aws/us-east-1; null: where it is cheapest.")
    num_parts: int = key(1, **_COUNTS, help=f"Machines. {_PARTS_HELP}")
    accelerators: str | None = key(None, help="GPUs of each machine, such as A100:1; null: none.")
    cpus: str | None = key(None, help="CPUs of each machine, such as 8+; null: SkyPilot's default.")
    memory: str | None = key(None, help="Memory of each machine in GB, such as 32+; null: SkyPilot's default.")
    use_spot: bool = key(False, help="Spot machines: SkyPilot replaces those that are taken away, and the job goes on.")
    image: str | None = key(None, help="The container image that it runs in; null: the machine itself, with `setup`.")
    setup: str | None = key(None, help="A line of shell that installs Darkroom on a new machine; null: none.")
    program: str = key("darkroom", help=_PROGRAM_HELP)
    write_to: str | None = key(None, is_place=True, help=_WRITE_TO_HELP)


TARGETS = {
    "ray": RayTarget,
    "kuberay": KubeRayTarget,
    "kubernetes": KubernetesTarget,
    "slurm": SlurmTarget,
    "sky": SkyTarget,
}
