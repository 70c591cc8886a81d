import pytest

from jobs.cli import composed
from jobs.engine import started

pytestmark = pytest.mark.slow


def test_a_macs_one_device_gets_one_worker() -> None:
    with started(composed("generate", ["engine.device=mps"]).engine) as engine:
        assert (engine.device, engine.num_workers) == ("mps", 1)
