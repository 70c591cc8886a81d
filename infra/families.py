"""Writes `docs/families.md`: what the self-test of a tiny model of each family says, promise by promise.

python infra/families.py               # every model
python infra/families.py sana hidream  # these alone; the rows of others stay
"""

import sys
from collections.abc import Collection, Iterator
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "pipeline")]  # tests make the models

from darkroom.domain.certificates import PROMISES, Check, Outcome  # noqa: E402
from darkroom.domain.settings import ModelRef, Sampling  # noqa: E402
from darkroom.rendering.family import Guidance  # noqa: E402
from darkroom.rendering.inspection import inspect_model  # noqa: E402
from darkroom.rendering.renderer import RendererSpec, load_renderer  # noqa: E402
from darkroom.rendering.self_test import self_test  # noqa: E402
from tests.rendering.every_family import MODELS, NEEDS, SIDES  # noqa: E402

PAGE = ROOT / "infra" / "docs" / "families.md"
BATCH_SIZE = 4
NUM_FRAMES = 9  # of videos
HEAD = """# Families

What `darkroom prove` says of a tiny model of each family: the pipeline's real class and the real architecture of each
of its parts, with random weights, a few numbers wide, on a CPU, in float32, in batches of {batch_size}. They show that
what Darkroom does with a class is right; a model of full size has a certificate of its own. Made by `make families`
with diffusers {diffusers}, transformers {transformers} and torch {torch}; nothing in the table is written by hand.

An equality says by how much pixel values differ at most, of 255: 0 is bit-exact. "acts" is another image of another
value; "-" is not asked, since the model does not take it; "?" was not tested, as where an optional package is missing.

{promises}

| class | model | {names} |
| --- | --- | {lines} |
"""


def short(check: Check) -> str:
    """An outcome in a word or a number."""
    if check.outcome is Outcome.UNTAKEN:
        return "-"
    if check.outcome is Outcome.FAILS and check.error:
        return f"fails ({check.error})".replace("|", "/")
    if PROMISES[check.promise].is_equality:
        return str(check.difference) if check.outcome is not Outcome.FAILS else f"fails ({check.difference})"
    return "acts" if check.outcome is Outcome.ACTS else "does nothing"


def row(name: str, folder: Path) -> str:
    model, side = inspect_model(ModelRef(str(MODELS[name](folder / name))), "cpu"), SIDES.get(name, 32)
    guidance = 0.0 if model.family.guidance is Guidance.NONE else 3.0
    renderer = load_renderer(RendererSpec(model, "cpu", BATCH_SIZE))
    sampling = Sampling("default", guidance, 2, side, side)
    if model.family.frames_unit:
        sampling = replace(sampling, num_frames=NUM_FRAMES, fps=model.family.fps)
    checks = self_test(renderer, model, sampling)
    return f"| {model.identity.pipeline_class} | {name} | {' | '.join(map(short, checks))} |\n"


def rows(names: Collection[str]) -> Iterator[str]:
    """Those of other models stay where they have been asked for the same promises."""
    lines = PAGE.read_text().splitlines(keepends=True) if PAGE.is_file() else []
    is_alike = any(line.endswith(f"| {' | '.join(PROMISES)} |\n") for line in lines)
    kept = {line.split("|")[2].strip(): line for line in lines if line.startswith("|") and is_alike}
    for name in MODELS:
        if name in names and not (name in NEEDS and find_spec(NEEDS[name]) is None):
            print(name, flush=True)
            with TemporaryDirectory() as folder:
                yield row(name, Path(folder))
        else:
            yield kept.get(name) or f"| | {name} | {' | '.join(['?'] * len(PROMISES))} |\n"


def main() -> None:
    head = HEAD.format(
        batch_size=BATCH_SIZE,
        promises="\n".join(f"- `{name}`: {promise.text}" for name, promise in PROMISES.items()),
        names=" | ".join(PROMISES),
        lines=" | ".join(["---"] * len(PROMISES)),
        **{name: version(name).partition("+")[0] for name in ("diffusers", "transformers", "torch")},
    )
    PAGE.write_text(head + "".join(sorted(rows(sys.argv[1:] or MODELS))), encoding="utf-8")


if __name__ == "__main__":
    main()
