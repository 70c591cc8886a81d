"""Which cells can have trajectories, by what is known of their models and schedulers."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from darkroom.api.cells import CheckedCell
from darkroom.api.output_options import OutputOptions
from darkroom.api.trajectories import check_trajectory
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import Cell
from darkroom.domain.settings import ModelRef, Sampling
from darkroom.rendering.family import Latents
from darkroom.rendering.inspection import inspect_model
from darkroom.runs.cells import CellInfo
from tests.rendering.tiny_models import tiny_sd

ON = OutputOptions(trajectory=True)
CHOSEN = OutputOptions(trajectory=True, trajectory_steps=[1, 8])


@pytest.fixture(scope="module")
def item(tmp_path_factory: pytest.TempPathFactory) -> CheckedCell:
    ref = ModelRef(str(tiny_sd(tmp_path_factory.mktemp("sd") / "model")))
    model = inspect_model(ref, "cpu")
    return CheckedCell(CellInfo(ref, Cell(model.identity, Sampling("default", 4.0, 8, 16, 16))), model)


def scan(**overriding: int) -> Any:
    return SimpleNamespace(num_overriding=Counter(overriding))


def with_sampling(item: CheckedCell, **changes: Any) -> CheckedCell:
    cell = replace(item.cell, sampling=replace(item.cell.sampling, **changes))
    return replace(item, info=replace(item.info, cell=cell))


def test_what_is_known_passes_with_whatever_steps_there_are(item: CheckedCell) -> None:
    check_trajectory(ON, [item, with_sampling(item, num_inference_steps=1)], scan(num_inference_steps=3))
    check_trajectory(CHOSEN, [item, with_sampling(item, scheduler="pndm")], scan())
    check_trajectory(OutputOptions(), [with_family(item)], scan())


def with_family(item: CheckedCell) -> CheckedCell:
    family = replace(item.model.family, latents=Latents.OTHER)
    return replace(item, model=replace(item.model, family=family))


def test_what_is_not_is_refused_in_one_line(item: CheckedCell, tmp_path: Path) -> None:
    own = tmp_path / "scheduler" / "scheduler_config.json"
    own.parent.mkdir()
    own.write_text('{"_class_name": "EDMEulerScheduler"}')
    other = replace(item, model=replace(item.model, folder=str(tmp_path)))
    cases = [
        (ON, with_family(item), scan(), "latents of StableDiffusionPipeline are decoded .* is not known; leave it out"),
        (ON, other, scan(), "the model's own scheduler: EDMEulerScheduler is none .* give another scheduler"),
        (CHOSEN, with_sampling(item, num_inference_steps=7), scan(), "step 8 is past the last .*num_inference_steps=7"),
        (CHOSEN, item, scan(num_inference_steps=1), r"steps=\[1, 8\]: prompt rows have num_inference_steps"),
    ]
    for output, asked, rows, words in cases:
        with pytest.raises(DarkroomError, match=words):
            check_trajectory(output, [asked], rows)


def test_a_policy_beside_it_is_refused_since_it_decides_after_images_are_made(item: CheckedCell) -> None:
    check_trajectory(OutputOptions(), [item], scan(), has_policy=True)
    with pytest.raises(DarkroomError, match=r"a policy decides afterwards .* leave one of them out"):
        check_trajectory(ON, [item], scan(), has_policy=True)
