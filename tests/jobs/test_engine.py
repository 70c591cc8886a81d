import pytest
from darkroom.jobs.engine import started

from darkroom.jobs.cli import composed

pytestmark = pytest.mark.slow


def test_a_macs_one_device_gets_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    with started(composed("generate", ["engine.device=mps"]).engine) as engine:
        assert (engine.device, engine.num_workers) == ("mps", 1)
