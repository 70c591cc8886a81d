"""The policy of infra/clusters, enforced by a real S3 over HTTP: a run's jobs pass, and another prefix is refused."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from darkroom.domain.errors import DarkroomError
from tests.jobs.helpers import PAINT, run_here
from tests.servers import make_bucket, moto_server

POLICY = Path(__file__).parents[2] / "infra" / "clusters" / "policy.json"


def policy() -> dict:
    """Without the condition on what is listed: moto knows none of S3's."""
    found = json.loads(POLICY.read_text().replace("BUCKET", "own").replace("PREFIX", "runs"))
    listing, _ = found["Statement"]
    assert listing.pop("Condition") == {"StringLike": {"s3:prefix": ["runs/*"]}}
    return found


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that lets in one user, with the policy."""
    with moto_server() as url:
        make_bucket(url, "own")
        make_bucket(url, "other")
        iam = boto3.client("iam", endpoint_url=url)
        iam.create_user(UserName="renderer")
        iam.put_user_policy(UserName="renderer", PolicyName="darkroom", PolicyDocument=json.dumps(policy()))
        key = iam.create_access_key(UserName="renderer")["AccessKey"]
        headers = {"Content-Type": "application/octet-stream"}
        reset = urllib.request.Request(f"{url}/moto-api/reset-auth", b"0", headers, method="POST")
        urllib.request.urlopen(reset, timeout=10).close()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        yield url


@pytest.mark.slow
def test_a_runs_jobs_need_no_more_than_the_policy(endpoint: str, capsys: pytest.CaptureFixture) -> None:
    words = [*PAINT, "prompts=template", "prompts.pattern=a {x}", "prompts.slots={x: [a, b]}"]
    place = ["run=s3://own/runs/x", f"endpoint_url={endpoint}"]
    assert run_here("generate", *words, "output.uri=s3://own/runs/x", f"output.endpoint_url={endpoint}") == 0
    assert run_here("status", *place) == 0
    assert run_here("verify", *place) == 0
    assert run_here("gc", *place, "older_than_s=0") == 0
    assert run_here("report", *place) == 0
    for uri in ("s3://own/others/x", "s3://other/runs/x"):
        with pytest.raises(DarkroomError, match=r"output.uri: .*(AccessDenied|denied|no right)"):
            run_here("generate", *words, f"output.uri={uri}", f"output.endpoint_url={endpoint}")
