"""What an engine is started as."""

import pytest

from darkroom.api.engine import started
from darkroom.api.options import EngineOptions

pytestmark = pytest.mark.slow


@pytest.mark.slow
def test_a_macs_one_device_gets_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    with started(EngineOptions(kind="ray", device="mps")) as engine:
        assert (engine.device, engine.num_workers) == ("mps", 1)
