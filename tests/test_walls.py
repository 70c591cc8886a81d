"""The walls of the house, read from the imports of every file."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(path for folder in ("pipeline/darkroom", "conf", "jobs") for path in (ROOT / folder).rglob("*.py"))

# Module -> the only files that may import it.
ONLY_IN = {
    "ray": [
        "pipeline/darkroom/dispatch/actor.py",
        "pipeline/darkroom/dispatch/cluster.py",
        "pipeline/darkroom/dispatch/own.py",
        "pipeline/darkroom/bench/ray_data.py",
    ],
    "obstore": ["pipeline/darkroom/storage/"],
    "boto3": [],
    "botocore": ["pipeline/darkroom/storage/clouds.py"],
    "hydra": ["conf/", "jobs/"],
    "omegaconf": ["conf/", "jobs/"],
    "torch": [
        "pipeline/darkroom/rendering/",
        "pipeline/darkroom/features/",
        "pipeline/darkroom/demo/",
        "pipeline/darkroom/bench/",
        "pipeline/darkroom/api/engine.py",
    ],
    "diffusers": ["pipeline/darkroom/rendering/", "pipeline/darkroom/demo/", "pipeline/darkroom/bench/"],
    "rich": ["jobs/"],
    "darkroom.conf": ["conf/", "jobs/"],
    "darkroom.jobs": ["jobs/", "pipeline/darkroom/__main__.py"],
}
# Room -> our own rooms that it may import.
MAY_IMPORT = {
    "domain": set(),
    "prompts": {"domain"},
    "profiling": set(),
    "models": {"domain"},
    "rendering": {"domain", "models", "profiling"},
    "features": {"domain", "demo", "models"},
    "encoding": {"domain"},
    "storage": {"domain"},
    "planning": {"domain", "prompts"},
    "runs": {"domain", "encoding", "storage"},
    "worker": {"domain", "profiling", "features", "planning", "rendering", "encoding", "storage", "runs"},
    "scoring": {"domain", "encoding", "features", "runs", "storage", "worker"},
    "dispatch": {"domain", "rendering", "worker"},
    "reporting": {"domain", "encoding", "runs", "storage"},
    "metrics": {"domain"},
    "evaluation": {"domain", "features", "metrics", "runs"},
    "references": {"domain", "encoding", "storage", "runs", "features", "metrics", "demo"},
    "demo": {"metrics"},
    "api": {
        "demo",
        "dispatch",
        "domain",
        "encoding",
        "evaluation",
        "features",
        "planning",
        "profiling",
        "prompts",
        "references",
        "rendering",
        "reporting",
        "runs",
        "scoring",
        "storage",
        "worker",
    },
    "bench": {
        "demo",
        "dispatch",
        "domain",
        "encoding",
        "planning",
        "prompts",
        "rendering",
        "runs",
        "storage",
        "worker",
    },
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_what_its_place_allows(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    for imported in imports(path):
        allowed = ONLY_IN.get(imported.split(".")[0]) or ONLY_IN.get(imported)
        if allowed is not None:
            assert any(name.startswith(place) for place in allowed), f"{name} imports {imported}"


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "pipeline" / "darkroom").glob("[!cj]*/*.py")),
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_a_room_imports_only_the_rooms_before_it(path: Path) -> None:
    room = path.parent.name
    found = {name.split(".")[1] for name in imports(path) if name.startswith("darkroom.")} - {"__version__"}
    assert found - {room} <= MAY_IMPORT[room], f"{room} imports {found - {room} - MAY_IMPORT[room]}"


JOBS_MAY_IMPORT = {  # rooms, and of others what is for printing
    "api",
    "conf",
    "domain",
    "jobs",
    "bench",
    "demo",
    "dispatch.events",
    "planning.grid",
    "runs.cells",
    "runs.commands",
    "storage.store",
    "worker.tasks",
}


def test_jobs_call_the_api() -> None:
    for path in (ROOT / "jobs").glob("*.py"):
        found = {name.removeprefix("darkroom.") for name in imports(path) if name.startswith("darkroom.")}
        others = {
            name for name in found if not any(name == each or name.startswith(f"{each}.") for each in JOBS_MAY_IMPORT)
        }
        assert others <= {"__version__"}, f"jobs/{path.name} imports {others}"


def test_the_domain_imports_the_standard_library_alone() -> None:
    import sys

    for path in (ROOT / "pipeline" / "darkroom" / "domain").glob("*.py"):
        outside = {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names) - {"darkroom"}
        assert not outside, f"{path.name} imports {outside}"


def test_metrics_import_numpy_alone() -> None:
    import sys

    for path in (ROOT / "pipeline" / "darkroom" / "metrics").glob("*.py"):
        outside = {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names) - {"numpy", "darkroom"}
        assert not outside, f"{path.name} imports {outside}"


def test_evaluation_knows_of_extractors_nothing_but_what_they_are_called() -> None:
    for path in (ROOT / "pipeline" / "darkroom" / "evaluation").glob("*.py"):
        found = {name for name in imports(path) if name.startswith("darkroom.features")}
        assert found <= {"darkroom.features.extractor", "darkroom.features.extractor.ExtractorInfo"}


def test_every_module_says_what_it_does() -> None:
    silent = [str(path) for path in FILES if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not silent
