"""The files of infra/clusters: each is what its maker says, and passes the checker of its kind."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.manifests import texts

CLUSTERS = Path(__file__).parents[2] / "infra" / "clusters"
BIN = Path(sys.executable).parent
KUBERNETES = "1.33"  # the oldest that is checked for


def checker(name: str) -> str:
    """A program of the environment; there are platforms that it is not built for."""
    found = shutil.which(name, path=str(BIN)) or shutil.which(name)
    return found or pytest.skip(f"{name} is not installed")


def passes(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return texts()


@pytest.mark.slow
def test_manifests_are_what_submit_prints(made: dict[str, str]) -> None:
    """`make infra` writes them."""
    assert {name: (CLUSTERS / name).read_text() for name in made} == made


# Kubernetes ----------------------------------------------------------------------------------------------------------


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((CLUSTERS / name).read_text())


def templates(ray: dict[str, Any]) -> Iterator[dict[str, Any]]:
    cluster = ray["spec"].get("rayClusterSpec", ray["spec"])
    yield from (group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]))


def check_kubernetes(value: dict[str, Any]) -> None:
    validate = pytest.importorskip("kubernetes_validate").validate
    validate(value, KUBERNETES, strict=True)


def test_the_indexed_job_is_one_of_kubernetes() -> None:
    check_kubernetes(read("job.yaml"))


@pytest.mark.parametrize("name", ["rayjob.yaml", "raycluster.yaml"])
def test_ray_manifests_have_fields_that_kuberay_knows(name: str) -> None:
    from jsonschema import Draft202012Validator

    fields = yaml.safe_load((Path(__file__).parent / "kuberay_fields.yaml").read_text())
    value = read(name)
    Draft202012Validator(fields).validate(value)
    for template in templates(value):
        check_kubernetes({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": template})


def test_the_checkers_refuse_what_is_wrong() -> None:
    from jsonschema import Draft202012Validator, ValidationError

    fields = Draft202012Validator(yaml.safe_load((Path(__file__).parent / "kuberay_fields.yaml").read_text()))
    for key in ("entryPoint", "shutdownAfterJobFinish"):
        job = read("rayjob.yaml")
        job["spec"][key] = "x"
        assert not fields.is_valid(job)
    job = read("job.yaml")
    job["spec"]["template"]["spec"]["containers"][0]["comand"] = []
    with pytest.raises(ValidationError, match="comand"):
        check_kubernetes(job)


@pytest.mark.parametrize("name", ["rayjob.yaml", "raycluster.yaml"])
def test_ray_is_behind_a_token(name: str) -> None:
    value = read(name)
    assert value["spec"].get("rayClusterSpec", value["spec"])["authOptions"] == {"mode": "token"}


# Others --------------------------------------------------------------------------------------------------------------


def test_the_dockerfile_passes_its_linter() -> None:
    passes(checker("hadolint"), str(CLUSTERS / "Dockerfile"))


def test_what_the_dockerfile_copies_is_there_and_not_ignored() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", (CLUSTERS / "Dockerfile").read_text(), re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    kept = re.findall(r"^!(.+)$", (CLUSTERS / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert sorted(names) == sorted(kept)
    assert [name for name in names if not (CLUSTERS.parents[1] / name).exists()] == []


def test_the_batch_script_is_bash() -> None:
    passes("bash", "-n", str(CLUSTERS / "darkroom.sbatch"))


@pytest.mark.slow
def test_the_compose_file_has_its_schema() -> None:
    passes(checker("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(CLUSTERS / "compose.yaml"))


@pytest.mark.slow
def test_the_template_of_the_bucket_passes_its_linter() -> None:
    passes(checker("cfn-lint"), str(CLUSTERS / "bucket.yaml"))


def test_the_templates_policy_is_that_of_the_file() -> None:
    text = (CLUSTERS / "bucket.yaml").read_text().replace("!GetAtt ", "").replace("!Sub ", "").replace("!Ref ", "")
    found = yaml.safe_load(text)["Resources"]["Rendering"]["Properties"]["PolicyDocument"]
    own = (
        (CLUSTERS / "policy.json")
        .read_text()
        .replace("arn:aws:s3:::BUCKET", "${Bucket.Arn}")
        .replace("PREFIX", "${Prefix}")
    )
    said = json.dumps(found).replace('"Bucket.Arn"', '"${Bucket.Arn}"')

    def plain(policy: str) -> list[dict]:
        statements = json.loads(policy)["Statement"]
        for each in statements:
            each["Action"] = sorted([each["Action"]] if isinstance(each["Action"], str) else each["Action"])
        return statements

    assert plain(said) == plain(own)


SKY = {  # keys of https://docs.skypilot.co/en/latest/reference/yaml-spec.html
    "": {"name", "resources", "num_nodes", "setup", "run", "envs", "secrets", "file_mounts", "workdir", "service"},
    "resources": {"infra", "accelerators", "cpus", "memory", "image_id", "use_spot", "disk_size", "any_of", "ordered"},
}


def test_the_task_of_skypilot_has_its_keys() -> None:
    task = read("sky.yaml")
    assert set(task) <= SKY[""]
    assert set(task["resources"]) <= SKY["resources"]
