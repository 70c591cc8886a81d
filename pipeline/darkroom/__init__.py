"""Offline, dataset-scale text-to-image generation: prompts in, a committed dataset of images and figures out.

    run = darkroom.generate(["a red circle"], model="demo", out="runs/first", guidance_scale=4)
    run.records, next(run.images()), run.evaluate(reference="demo"), run.report()

Importing this loads nothing heavy; each name is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from darkroom.api.arguments import from_files as from_files
    from darkroom.api.arguments import select as select
    from darkroom.api.arguments import template as template
    from darkroom.api.calls import compare as compare
    from darkroom.api.calls import evaluate as evaluate
    from darkroom.api.calls import export as export
    from darkroom.api.calls import find_copies as find_copies
    from darkroom.api.calls import generate as generate
    from darkroom.api.calls import open_run as open_run
    from darkroom.api.calls import plan as plan
    from darkroom.api.calls import prove as prove
    from darkroom.api.calls import push as push
    from darkroom.api.calls import rate as rate
    from darkroom.api.calls import report as report
    from darkroom.api.calls import rewrite as rewrite
    from darkroom.api.calls import sweep as sweep
    from darkroom.api.evaluation_options import EvaluationOptions as EvaluationOptions
    from darkroom.api.evaluation_options import Expectation as Expectation
    from darkroom.api.evaluation_options import HalvingOptions as HalvingOptions
    from darkroom.api.evaluation_options import PolicyRule as PolicyRule
    from darkroom.api.events import Progressed as Progressed
    from darkroom.api.options import EngineOptions as EngineOptions
    from darkroom.api.run import Run as Run
    from darkroom.domain.errors import DarkroomError as DarkroomError
    from darkroom.domain.settings import ModelRef as ModelRef
    from darkroom.storage.store import StoreError as StoreError

__version__ = "0.2.0"
_HOMES = {
    "darkroom.api.calls": (
        "compare",
        "evaluate",
        "export",
        "find_copies",
        "generate",
        "open_run",
        "plan",
        "prove",
        "push",
        "rate",
        "report",
        "rewrite",
        "sweep",
    ),
    "darkroom.api.events": ("Progressed",),
    "darkroom.api.options": ("EngineOptions",),
    "darkroom.api.evaluation_options": ("EvaluationOptions", "Expectation", "HalvingOptions", "PolicyRule"),
    "darkroom.api.arguments": ("from_files", "select", "template"),
    "darkroom.api.run": ("Run",),
    "darkroom.domain.errors": ("DarkroomError",),
    "darkroom.domain.settings": ("ModelRef",),
    "darkroom.storage.store": ("StoreError",),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}
__all__ = [*sorted(_MODULES), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from darkroom.domain.process import import_whole

    import_whole(_MODULES[name])
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
