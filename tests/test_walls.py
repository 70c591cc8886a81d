"""The walls of the house, read from the imports of every file."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(path for folder in ("pipeline/darkroom", "conf", "jobs") for path in (ROOT / folder).rglob("*.py"))

# Of the room of evaluation, what turns pixels into features; figures are arithmetic of numpy.
ON_TORCH = (
    "aesthetic", "extractor", "inception", "inception_extractor", "networks", "opening", "preprocessing",
    "transformers_models",
)  # fmt: skip
# Module -> the only files that may import it.
ONLY_IN = {
    "ray": [
        "pipeline/darkroom/engine/actor.py",
        "pipeline/darkroom/engine/cluster.py",
        "pipeline/darkroom/engine/ray_dispatcher.py",
        "pipeline/darkroom/engine/capacity.py",
        "pipeline/darkroom/engine/metrics.py",
        "pipeline/darkroom/bench/ray_data.py",
        "pipeline/darkroom/clusters/ray_jobs.py",
    ],
    "obstore": ["pipeline/darkroom/storage/"],
    "boto3": [],
    "botocore": ["pipeline/darkroom/storage/clouds.py"],
    "hydra": ["conf/", "jobs/"],
    "omegaconf": ["conf/", "jobs/"],
    "torch": [
        "pipeline/darkroom/rendering/",
        *(f"pipeline/darkroom/evaluation/{name}.py" for name in ON_TORCH),
        "pipeline/darkroom/rewriting/language_model.py",
        "pipeline/darkroom/demo/",
        "pipeline/darkroom/bench/",
        "pipeline/darkroom/api/engine.py",
    ],
    "diffusers": ["pipeline/darkroom/rendering/", "pipeline/darkroom/demo/", "pipeline/darkroom/bench/"],
    "openvino": ["pipeline/darkroom/rendering/openvino_unet.py"],
    "c2pa": ["pipeline/darkroom/runs/signing.py"],
    "av": ["pipeline/darkroom/runs/videos.py"],
    "cryptography": ["pipeline/darkroom/runs/signing_keys.py"],
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
    "rendering": {"domain", "storage"},
    "rewriting": {"domain", "prompts", "rendering", "storage"},
    "storage": {"domain"},
    "runs": {"domain", "storage"},
    "evaluation": {"demo", "domain", "rendering", "runs", "storage"},
    "engine": {"domain", "evaluation", "prompts", "rendering", "runs", "storage"},
    "reporting": {"domain", "evaluation", "runs", "storage"},
    "exporting": {"domain", "evaluation", "prompts", "reporting", "runs", "storage"},
    "demo": set(),
    "clusters": {"domain"},
    "api": {
        "demo",
        "domain",
        "engine",
        "evaluation",
        "exporting",
        "prompts",
        "rendering",
        "reporting",
        "rewriting",
        "runs",
        "storage",
    },
    "bench": {
        "demo",
        "domain",
        "engine",
        "evaluation",
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
    "clusters",
    "demo",
    "engine.planning",
    "runs.cells",
    "runs.commands",
    "storage.store",
    "engine.meter",
    "engine.tasks",
    "evaluation.reference_free",
    "rendering.http_calls",
    "rendering.schedulers",
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


# Of the room of evaluation, what is algebra on arrays: it knows no other file.
FORMULAS = (
    "moments", "deletion", "frechet", "kernel_distances", "neighbours", "paired_comparisons", "reference_free",
    "resampling",
)  # fmt: skip


def test_formulas_import_numpy_and_each_other_alone() -> None:
    import sys

    ours = {"domain", *(f"evaluation.{name}" for name in FORMULAS)}
    for name in FORMULAS:
        path = ROOT / "pipeline" / "darkroom" / "evaluation" / f"{name}.py"
        outside = {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names) - {"numpy", "darkroom"}
        assert not outside, f"{path.name} imports {outside}"
        for imported in imports(path):
            if imported.startswith("darkroom."):
                assert any(imported.startswith(f"darkroom.{place}") for place in ours), f"{path.name}: {imported}"


def inside(room: str, path: Path) -> set[str]:
    """Files of a room that a file imports."""
    return {name.split(".")[2] for name in imports(path) if name.startswith(f"darkroom.{room}.")}


# The half of evaluation that makes features, and what they are measured against; the other half makes figures of them.
IS_OF_FEATURES = (
    *ON_TORCH,
    "command_scorer",
    "plugins",
    "scorer",
    "sharpness",
    "reference",
    "video_frames",
)  # names, or how they begin


def test_figures_are_made_of_features_without_knowing_how_these_are_made() -> None:
    for path in (ROOT / "pipeline" / "darkroom" / "evaluation").glob("[!_]*.py"):
        of_features = path.stem.startswith(IS_OF_FEATURES) and path.stem not in FORMULAS
        others = {name for name in inside("evaluation", path) if name not in FORMULAS}
        assert all(name.startswith(IS_OF_FEATURES) == of_features for name in others), f"{path.name} imports {others}"


@pytest.mark.parametrize("room", ["reporting", "exporting"])
def test_what_is_handed_on_reads_stored_figures_alone(room: str) -> None:
    for path in (ROOT / "pipeline" / "darkroom" / room).glob("*.py"):
        assert inside("evaluation", path) <= {"figures", "latest", "tables"}, path.name


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
