"""Writes `licences.md` beside itself: what the environment installs, under which licence. Run by `make licences`."""

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

HERE = Path(__file__).parent
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)$", re.MULTILINE)
CLASSIFIER = re.compile(r"License :: .+ :: (.+)")
HEAD = """# Licences

What `constraints.txt` pins, as each package's own metadata has it. Made by `make licences`.

| package | version | licence |
| --- | --- | --- |
"""


def pinned() -> dict[str, str]:
    """Package -> version."""
    return dict(PINNED.findall((HERE.parent / "constraints.txt").read_text()))


def licence(package: Distribution) -> str:
    """The newest kind of statement that the package makes: an SPDX expression, classifiers, or a line of its own."""
    metadata = package.metadata
    classifiers = [found[1] for value in metadata.get_all("Classifier", []) if (found := CLASSIFIER.fullmatch(value))]
    lines = (metadata.get("License") or "").strip().splitlines()
    said = metadata.get("License-Expression") or ", ".join(classifiers) or (lines[0] if lines else "")
    return said or "not said in its metadata"


def rows() -> Iterator[str]:
    for name, version in pinned().items():
        try:
            said = licence(distribution(name))
        except PackageNotFoundError:
            said = "not installed here"
        yield f"| {name} | {version} | {said.replace('|', '/')} |\n"


def main() -> None:
    (HERE / "licences.md").write_text(HEAD + "".join(rows()), encoding="utf-8")


if __name__ == "__main__":
    main()
