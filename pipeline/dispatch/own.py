"""Starts a Ray of this machine's own that nobody else can reach: on loopback, behind a token, without a dashboard."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray._private import ray_constants


def start_own(num_cpus: int) -> None:
    """Start and join it."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:  # Ray asks for a token of itself, and would keep one in the home folder
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    with _alone():
        ray.init(
            address="local",
            num_cpus=num_cpus,
            include_dashboard=False,
            logging_level="warning",
            log_to_driver=False,
            _node_ip_address="127.0.0.1",
        )


@contextmanager
def _alone() -> Iterator[None]:
    """Ray turns 127.0.0.1 into the machine's outer address and listens there, unless it may not make clusters."""
    name, allowed = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, ray_constants.ENABLE_RAY_CLUSTER
    before = os.environ.get(name)
    os.environ[name], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = allowed
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before
