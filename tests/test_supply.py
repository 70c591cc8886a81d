"""Where our dependencies come from: pinned to the version, all of them, with a licence that we know."""

import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PINNED = dict(re.findall(r"^(\S+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
MAKEFILE = (ROOT / "Makefile").read_text()
OF_ACCELERATORS = re.compile(
    r"nvidia-.*|cuda-.*|triton|pytorch-triton.*"
)  # torch's own pins, where it is built for one


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(name: str, extras: frozenset[str], seen: set[tuple[str, frozenset[str]]]) -> set[str]:
    """Packages that this one needs on this machine, and those that they need."""
    if (name, extras) in seen or OF_ACCELERATORS.fullmatch(name):
        return set()
    seen.add((name, extras))
    found = {name}
    for line in distribution(name).requires or ():
        need = Requirement(line)
        if not need.marker or any(need.marker.evaluate({"extra": extra}) for extra in extras | {""}):
            found |= needed(plain(need.name), frozenset(need.extras), seen)
    return found


@pytest.mark.slow
def test_all_that_we_need_is_pinned_to_the_installed_version() -> None:
    """A version may have a local part, such as 2.13.0+cpu."""
    pins = {plain(name): version for name, version in PINNED.items()}
    packages = needed("darkroom", frozenset({"dev"}), set()) - {"darkroom", "setuptools"}
    assert len(packages) > 80
    assert {name: distribution(name).version.partition("+")[0] for name in packages} == {
        name: pins.get(name) for name in packages
    }


@pytest.mark.parametrize("target", ["demo", "test", "check", "docs"])
def test_a_target_works_in_the_pinned_environment(target: str) -> None:
    assert re.search(rf"^{target}: env\b", MAKEFILE, re.MULTILINE)


def test_whatever_installs_dependencies_installs_what_is_pinned() -> None:
    commands = [line for line in MAKEFILE.splitlines() if re.search(r"\bpip (install|wheel|download)\b", line)]
    installing = [line for line in commands if "--no-deps" not in line]
    assert len(installing) >= 2, "the environment's, and the release's"
    assert [line for line in installing if "--constraint constraints.txt" not in line] == []


def test_every_pinned_package_has_a_licence_in_the_table() -> None:
    """`make licences` writes it."""
    table = (ROOT / "infra" / "licences.md").read_text()
    listed = dict(re.findall(r"^\| (\S+) \| (\S+) \| (?!not )\S", table, re.MULTILINE))
    assert {name: version for name, version in listed.items() if name in PINNED} == PINNED


@pytest.mark.slow
def test_the_table_can_be_made_again(tmp_path: Path) -> None:
    """From a copy of the script, so that the table here stays."""
    (tmp_path / "infra").mkdir()
    for name in ("constraints.txt", "infra/licences.py"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    subprocess.run([sys.executable, str(tmp_path / "infra" / "licences.py")], check=True)
    made = (tmp_path / "infra" / "licences.md").read_text()
    assert made.splitlines()[:6] == (ROOT / "infra" / "licences.md").read_text().splitlines()[:6]
    assert len(made.splitlines()) == 6 + len(PINNED)
