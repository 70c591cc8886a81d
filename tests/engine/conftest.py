"""One local Ray for all tests of the dispatcher: to start one takes longer than most of them."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package")
def shared_ray() -> Iterator[None]:
    from darkroom.engine import cluster

    cluster.start(None, num_workers=4)
    yield
    cluster.stop()


@pytest.fixture
def ray_cluster(shared_ray: None) -> None:
    """Room for four workers, unless another test has stopped it meanwhile; then it is started anew."""
    from darkroom.engine import cluster

    cluster.start(None, num_workers=4)


@pytest.fixture
def no_ray() -> None:
    """For tests that start a Ray of their own."""
    from darkroom.engine import cluster

    cluster.stop()
