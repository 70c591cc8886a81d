"""What every room's tests share: dummy credentials and one S3 server a session."""

import os
from collections.abc import Iterator

import pytest

from tests.servers import CREDENTIALS, make_bucket, moto_server

os.environ.update(CREDENTIALS)
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    with moto_server() as url:
        make_bucket(url, "bucket")
        yield url
