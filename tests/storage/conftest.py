"""A spoiled way to a real S3 server, and a store at its end that does not wait long."""

import uuid
from collections.abc import Iterator

import pytest

from darkroom.storage.objects import ObjectStore
from darkroom.storage.retry import RetryPolicy
from darkroom.storage.store import parse_spec
from tests.servers import FaultyProxy
from tests.storage.clouds import GoogleDialect, azurite, azurite_server, make_container

QUICK = RetryPolicy(deadline_s=10.0, first_pause_s=0.01, longest_pause_s=0.05, read_timeout_s=1.0)


@pytest.fixture
def proxy(s3_endpoint: str) -> Iterator[FaultyProxy]:
    with FaultyProxy(s3_endpoint) as running:
        yield running


@pytest.fixture(scope="session")
def google(s3_endpoint: str) -> Iterator[str]:
    with GoogleDialect(s3_endpoint) as running:
        yield running.url


@pytest.fixture(scope="session")
def azure() -> Iterator[str]:
    program = azurite()
    if not program:
        pytest.skip("azurite is not installed")
    with azurite_server(program) as url:
        make_container(url, "bucket")
        yield url


@pytest.fixture
def uri() -> str:
    """A new folder in the bucket."""
    return f"s3://bucket/{uuid.uuid4().hex}/run"


@pytest.fixture
def spoiled(proxy: FaultyProxy, uri: str) -> ObjectStore:
    return ObjectStore(parse_spec(uri, proxy.url), QUICK)


@pytest.fixture
def direct(s3_endpoint: str, uri: str) -> ObjectStore:
    """The same objects, by the straight way."""
    return ObjectStore(parse_spec(uri, s3_endpoint))
