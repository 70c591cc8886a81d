"""The memory of the device: the machine's, or what a container may use of it."""

from pathlib import Path

import pytest

from darkroom.rendering import device_memory
from darkroom.rendering.device_memory import peak_of, taken_bytes, total_bytes


@pytest.mark.parametrize(
    ("name", "text", "is_less"),
    [
        ("memory.max", "1000000\n", True),
        ("memory/memory.limit_in_bytes", "2000000", True),
        ("memory.max", "max", False),
    ],
)
def test_a_limit_of_the_container_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, is_less: bool
) -> None:
    whole = total_bytes("cpu")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    monkeypatch.setattr(device_memory, "_CGROUP", tmp_path)
    found = total_bytes("cpu")
    assert found
    assert whole
    assert (found == int(text)) if is_less else (found >= whole)


def test_a_system_that_does_not_tell_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_STATUS", "_CLEAR_REFS"):
        monkeypatch.setattr(device_memory, name, tmp_path / "none" / "here")
    assert taken_bytes("cpu") == 0
    with peak_of("cpu") as peak:
        pass
    assert peak.num_bytes is None
