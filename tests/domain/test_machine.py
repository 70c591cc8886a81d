"""What a machine is seen to have."""

import sysconfig
from pathlib import Path

import pytest

from darkroom.domain import machine


def test_what_compiling_lacks_is_named_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "find_spec", lambda _: None)
    assert machine.lacks_for_compiling() == "the package triton"
    monkeypatch.setattr(machine, "find_spec", lambda name: name)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.lacks_for_compiling() == "a C compiler"
    (tmp_path / "gcc").write_text("#!/bin/sh")
    (tmp_path / "gcc").chmod(0o755)
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    assert machine.lacks_for_compiling() == "Python's headers (python3-dev)"
    (tmp_path / "Python.h").write_text("")
    assert machine.lacks_for_compiling() == ""
