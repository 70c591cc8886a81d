"""Manifests for Kubernetes: an Indexed Job without Ray, and KubeRay's RayJob and RayCluster.

https://kubernetes.io/docs/concepts/workloads/controllers/job/ and
https://docs.ray.io/en/latest/cluster/kubernetes/getting-started/rayjob-quick-start.html
"""

from collections.abc import Mapping, Sequence
from typing import Any

from darkroom.clusters.submission import Submission

INSTANCE_LABEL = "app.kubernetes.io/instance"
_UID = 1000  # of the user `darkroom` in infra/Dockerfile
_PART = '"$@" engine.part="$((JOB_COMPLETION_INDEX + 1))/{num_parts}"'
_GOES_ON = (75, 130)  # exit codes after which the same command goes on
_NEVER_AGAIN = (1, 2, 3, 70)  # those that another try would end with too
_HEAD = {"num_cpus": 2, "num_gpus": 0, "memory": "8Gi"}  # beside which no worker runs

_ENTRYPOINT = {"entrypointNumCpus": "entrypoint_num_cpus", "entrypointNumGpus": "entrypoint_num_gpus"}
HEAD_LABEL = "darkroom-submission"  # of the head's pod, which has the log

Target = Mapping[str, Any]  # the keys of `to`, by their names


def indexed_job(target: Target, submission: Submission, shared: Sequence[str]) -> dict[str, Any]:
    """A Job with an index a part. A part that a lost node or a store cut off is tried again, and goes on."""
    num_parts = target["num_parts"]
    run = f"exec {_PART.format(num_parts=num_parts)}" if num_parts > 1 else 'exec "$@"'
    words = [target["program"], submission.job, *submission.words]
    container = {
        "name": "darkroom",
        "image": target["image"],
        "command": ["/bin/sh", "-c", run, "darkroom"],
        "args": [_literal(word) for word in words],
        **_environment(target),
        "resources": _resources(target),
        **_mounts(target, shared),
        "securityContext": _SECURITY,
    }
    pod = {"restartPolicy": "Never", **_pod(target, container)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(target, submission),
        "spec": {
            "completionMode": "Indexed",
            "completions": num_parts,
            "parallelism": num_parts,
            "backoffLimitPerIndex": 3,
            "maxFailedIndexes": num_parts,
            "podFailurePolicy": {"rules": _rules()},
            "ttlSecondsAfterFinished": target["keep_s"],
            "template": {"metadata": {"labels": _labels(submission)}, "spec": pod},
        },
    }


def _rules() -> list[dict[str, Any]]:
    def on(codes: Sequence[int]) -> dict[str, Any]:
        return {"containerName": "darkroom", "operator": "In", "values": list(codes)}

    # The first that fits decides: a pod that is evicted is stopped politely, and ends with a code that counts.
    return [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailIndex", "onExitCodes": on(_NEVER_AGAIN)},
        {"action": "Count", "onExitCodes": on(_GOES_ON)},
    ]


def ray_job(target: Target, submission: Submission, shared: Sequence[str], ray_version: str) -> dict[str, Any]:
    """A RayJob. It is submitted over HTTP: the other ways pass its words through a shell once more than they quote."""
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": _metadata(target, submission),
        "spec": {
            "entrypoint": submission.command(target["program"]),
            "jobId": submission.name,
            **{name: target[key] for name, key in _ENTRYPOINT.items() if target[key]},
            "submissionMode": "HTTPMode",
            "backoffLimit": 0,
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": target["keep_s"],
            "rayClusterSpec": _ray_cluster(target, shared, ray_version, {HEAD_LABEL: submission.name}),
        },
    }


def ray_cluster(target: Target, name: str, shared: Sequence[str], ray_version: str) -> dict[str, Any]:
    """A RayCluster that stays, for `to=ray`."""
    metadata = {"name": name, **_namespace(target)}
    spec = _ray_cluster(target, shared, ray_version, {})
    return {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": metadata, "spec": spec}


def _ray_cluster(target: Target, shared: Sequence[str], ray_version: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """KubeRay makes the token and gives it to every pod; no worker runs on the head."""
    number = target["num_workers"]
    ports = [(6379, "gcs-server"), (8265, "dashboard"), (10001, "client")]
    head = {"ports": [{"containerPort": port, "name": name} for port, name in ports]}
    return {
        "rayVersion": ray_version,
        "authOptions": {"mode": "token"},
        "headGroupSpec": {
            "rayStartParams": {"num-cpus": "0"},
            "template": {
                **({"metadata": {"labels": dict(labels)}} if labels else {}),
                "spec": _ray_pod(target, "ray-head", {**target, **_HEAD}, shared, head),
            },
        },
        "workerGroupSpecs": [
            {
                "groupName": "workers",
                "replicas": number,
                "minReplicas": number,
                "maxReplicas": number,
                "rayStartParams": {},
                "template": {"spec": _ray_pod(target, "ray-worker", target, shared, {})},
            }
        ],
    }


def _ray_pod(
    target: Target, name: str, needs: Target, shared: Sequence[str], others: Mapping[str, Any]
) -> dict[str, Any]:
    container = {
        "name": name,
        "image": target["image"],
        **others,
        **_environment(target),
        "resources": _resources(needs),
        **_mounts(target, shared),
        "securityContext": _SECURITY,
    }
    return _pod(target, container)


# What all pods have --------------------------------------------------------------------------------------------------

_SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
_VOLUME = "shared"


def _pod(target: Target, container: Mapping[str, Any]) -> dict[str, Any]:
    user = {"runAsNonRoot": True, "runAsUser": _UID, "fsGroup": _UID, "seccompProfile": {"type": "RuntimeDefault"}}
    pod: dict[str, Any] = {"securityContext": user, "containers": [dict(container)]}
    if target["service_account"]:
        pod["serviceAccountName"] = target["service_account"]
    if target["claim"]:
        pod["volumes"] = [{"name": _VOLUME, "persistentVolumeClaim": {"claimName": target["claim"]}}]
    return pod


def _environment(target: Target) -> dict[str, Any]:
    """The name of a Secret, never what is in it."""
    return {"envFrom": [{"secretRef": {"name": target["secret"]}}]} if target["secret"] else {}


def _mounts(target: Target, shared: Sequence[str]) -> dict[str, Any]:
    return {"volumeMounts": [{"name": _VOLUME, "mountPath": shared[0]}]} if target["claim"] else {}


def _resources(needs: Target) -> dict[str, Any]:
    asked = {"cpu": str(needs["num_cpus"]), "memory": needs["memory"]}
    gpus = {"nvidia.com/gpu": str(needs["num_gpus"])} if needs["num_gpus"] else {}
    return {"requests": {**asked, **gpus}, "limits": {"memory": needs["memory"], **gpus}}


def _metadata(target: Target, submission: Submission) -> dict[str, Any]:
    return {"name": submission.name, **_namespace(target), "labels": _labels(submission)}


def _labels(submission: Submission) -> dict[str, str]:
    return {"app.kubernetes.io/name": "darkroom", INSTANCE_LABEL: submission.family}


def _namespace(target: Target) -> dict[str, str]:
    return {"namespace": target["namespace"]} if target["namespace"] else {}


def _literal(word: str) -> str:
    """Which Kubernetes would else fill in, where it has `$(NAME)`."""
    return word.replace("$(", "$$(")
