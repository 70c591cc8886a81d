"""The walls of the house, read from the imports of every file."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(path for folder in ("pipeline/darkroom", "conf", "jobs") for path in (ROOT / folder).rglob("*.py"))

# Module -> the only files that may import it.
ONLY_IN = {
    "ray": [
        "pipeline/darkroom/engine/actor.py",
        "pipeline/darkroom/engine/cluster.py",
        "pipeline/darkroom/engine/ray_dispatcher.py",
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
    "jinja2": ["pipeline/darkroom/reporting/page.py"],
    "markupsafe": ["pipeline/darkroom/reporting/page.py"],
    "darkroom.conf": ["conf/", "jobs/"],
    "darkroom.jobs": ["jobs/", "pipeline/darkroom/__main__.py"],
}
# Room -> the rooms that it may import.
MAY_IMPORT = {
    "domain": set(),
    "prompts": {"domain", "storage"},
    "rendering": {"domain"},
    "features": {"domain", "demo", "rendering", "storage", "runs", "metrics"},
    "storage": {"domain"},
    "runs": {"domain", "storage"},
    "engine": {"domain", "prompts", "rendering", "storage", "runs", "features"},
    "reporting": {"domain", "metrics", "runs", "storage"},
    "metrics": {"domain", "runs", "storage"},
    "demo": {"metrics"},
    "api": {
        "demo",
        "domain",
        "engine",
        "features",
        "metrics",
        "prompts",
        "rendering",
        "reporting",
        "runs",
        "storage",
    },
    "bench": {
        "demo",
        "domain",
        "engine",
        "prompts",
        "rendering",
        "runs",
        "storage",
    },
}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.slow
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


def test_rooms_import_in_one_direction() -> None:
    """A room that imports another is never imported by it, however many rooms lie between."""
    list(TopologicalSorter(MAY_IMPORT).static_order())  # raises CycleError, which names the rooms of a cycle


JOBS_MAY_IMPORT = {  # rooms, and of others what is for printing
    "api",
    "conf",
    "domain",
    "jobs",
    "bench",
    "demo",
    "engine.planning",
    "runs.cells",
    "runs.commands",
    "storage.store",
    "engine.tasks",
}


@pytest.mark.slow
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


# Of the room of metrics, what is algebra on arrays: it stands before every other room, and all may import it.
FORMULAS = (
    "arrays", "moments", "frechet", "pairwise", "reference_free", "resampling",
)  # fmt: skip


def test_formulas_import_numpy_and_each_other_alone() -> None:
    import sys

    ours = {"domain", *(f"metrics.{name}" for name in FORMULAS)}
    for name in FORMULAS:
        path = ROOT / "pipeline" / "darkroom" / "metrics" / f"{name}.py"
        outside = {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names) - {"numpy", "darkroom"}
        assert not outside, f"{path.name} imports {outside}"
        for imported in imports(path):
            if imported.startswith("darkroom."):
                assert any(imported.startswith(f"darkroom.{place}") for place in ours), f"{path.name}: {imported}"


@pytest.mark.parametrize(
    ("rooms", "other", "modules"),
    [
        (("features", "demo"), "metrics", set(FORMULAS)),
        (("reporting",), "metrics", {"figures", "latest", "tables"}),  # stored results, and how they are written
    ],
)
def test_a_room_imports_no_more_of_another_than_these_modules(
    rooms: tuple[str, ...], other: str, modules: set[str]
) -> None:
    for room in rooms:
        for path in (ROOT / "pipeline" / "darkroom" / room).glob("*.py"):
            found = {name.split(".")[2] for name in imports(path) if name.startswith(f"darkroom.{other}.")}
            assert found <= modules, f"{path.name} imports {found - modules} of {other}"


def test_every_module_says_what_it_does() -> None:
    silent = [str(path) for path in FILES if not ast.get_docstring(tree_of(path))]
    assert not silent


@pytest.mark.slow
def test_no_process_is_forked_off() -> None:
    """A store's connections do not outlive a fork: processes run a program of their own, or start by `spawn`."""
    forking = {"multiprocessing.Process", "multiprocessing.Pool", "concurrent.futures.ProcessPoolExecutor",
               "torch.multiprocessing", "torch.utils.data", "os.fork", "os.forkpty"}  # fmt: skip
    for path in FILES:
        nodes = list(ast.walk(tree_of(path)))
        attributes = (node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name))
        used = {f"{node.value.id}.{node.attr}" for node in attributes} | set(imports(path))
        assert not used & forking, f"{path.name}: {used & forking}"
        for node in nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "get_context":
                assert ast.unparse(node) == "get_context('spawn')", f"{path.name}:{node.lineno}"
