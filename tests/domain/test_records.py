"""From rows to requests: whose value wins, what an image is called, and which noise it has."""

from dataclasses import replace

from darkroom.domain.identity import Cell, ModelIdentity
from darkroom.domain.records import PromptRow, samples
from darkroom.domain.settings import Sampling
from darkroom.runs.layouts import parameters_line, settings_json

MODEL = ModelIdentity("some/model", "sha256:abcdef", "float32", "StableDiffusionPipeline")
SAMPLING = Sampling("ddim", 5.0, 20, 64, 64)
CELL = Cell(MODEL, SAMPLING)
INTERVAL = Cell(MODEL, replace(SAMPLING, guidance_start=0.25, guidance_stop=0.75))
TEXT = (
    '{"dtype": "float32", "guidance_scale": 3.0, "guidance_start": 0.25, "guidance_stop": 0.75, "height": 32, '
    '"image_id": "597e187bf4bab0c5fd5788f36ef93512", "model": "some/model", "model_revision": "sha256:abcdef", '
    '"negative_prompt": "bad", "num_inference_steps": 20, "prompt": "a cat", "scheduler": "ddim", '
    '"seed": 2092049991916111139, "width": 64}'
)
LINE = (
    "a cat\nNegative prompt: bad\nSteps: 20, Sampler: ddim, CFG scale: 3.0, Seed: 2092049991916111139, Size: 64x32, "
    "Model: some/model, Model hash: abcdef"
)


def test_images_and_their_texts_are_what_they_were() -> None:
    row = PromptRow(3, "id", "a cat", (("negative_prompt", "bad"), ("guidance_scale", 3.0), ("height", 32)))
    requests = [sample.request for sample in samples(row, INTERVAL, 7, 3)]
    assert [(request.image_id, request.seed) for request in requests] == [
        ("597e187bf4bab0c5fd5788f36ef93512", 2092049991916111139),
        ("b574cb4403e845e4f695d3e06b3bb631", 8955392664139549181),
        ("22cb40e4f423f32d46b359c0ae2295cf", 262679019356111449),
    ]
    assert settings_json(requests[0], MODEL) == TEXT
    assert parameters_line(requests[0], MODEL) == LINE


def test_images_of_a_rows_own_seed_are_what_they_were() -> None:
    row = PromptRow(3, "id", "a cat", (("seed", 42), ("num_images_per_prompt", 2)))
    assert [(sample.request.image_id, sample.request.seed) for sample in samples(row, INTERVAL, 7, 3)] == [
        ("328936c0d7808a442cf06581a97684a4", 42),
        ("f395e508a88edfcd2e95f242f4ac60a6", 43),
    ]


def test_a_rows_values_win_over_the_cells() -> None:
    given = {"negative_prompt": "bad", "seed": 7, "guidance_scale": 3.0, "num_inference_steps": 9, "height": 32}
    given |= {"width": 40, "num_images_per_prompt": 2}
    row = PromptRow(0, "id", "p", tuple(given.items()))
    made = list(samples(row, CELL, run_seed=0, num_images_per_prompt=5))
    assert [sample.request.seed for sample in made] == [7, 8]
    assert made[0].request.sampling == Sampling("ddim", 3.0, 9, 32, 40, "bad")


def test_cells_share_seeds_but_not_names() -> None:
    row, other = PromptRow(0, "id", "p"), Cell(MODEL, replace(SAMPLING, guidance_scale=9.0))
    first, second = (next(samples(row, cell, 0, 1)).request for cell in (CELL, other))
    assert first.seed == second.seed
    assert first.image_id != second.image_id


def test_neither_row_number_nor_neighbours_change_an_image() -> None:
    here, there = PromptRow(0, "id", "p"), PromptRow(99, "id", "p")
    assert [s.request for s in samples(here, CELL, 0, 3)] == [s.request for s in samples(there, CELL, 0, 3)]


def requests(row: PromptRow, cell: Cell, run_seed: int = 0, count: int = 2) -> list[tuple[str, int]]:
    return [(sample.request.image_id, sample.request.seed) for sample in samples(row, cell, run_seed, count)]


def test_a_cells_own_seed_and_number_win_over_the_runs_and_a_rows_over_both() -> None:
    row = PromptRow(0, "id", "p")
    other = Cell(MODEL, replace(SAMPLING, seed=7, num_images_per_prompt=3))
    assert other.cell_id != CELL.cell_id
    assert [seed for _, seed in requests(row, other)] == [seed for _, seed in requests(row, CELL, 7, 3)]
    given = replace(row, overrides=(("seed", 42), ("num_images_per_prompt", 1)))
    assert [seed for _, seed in requests(given, other)] == [42]


def test_a_request_says_nothing_of_other_images() -> None:
    (request,) = [
        sample.request
        for sample in samples(PromptRow(0, "id", "p"), replace(CELL, sampling=replace(SAMPLING, seed=7)), 0, 1)
    ]
    assert request.sampling == SAMPLING


def test_requests_without_rows_values_share_one_object() -> None:
    first, second = (next(samples(PromptRow(row, f"{row}", "p"), CELL, 0, 1)).request for row in range(2))
    assert first.sampling is second.sampling


def test_batches_hold_what_one_call_can_render() -> None:
    row = PromptRow(0, "id", "p")
    strong, weak, none = (
        next(samples(replace(row, overrides=(("guidance_scale", scale),)), CELL, 0, 1)).request
        for scale in (7.0, 2.0, 1.0)
    )
    assert strong.batch_key(True) == weak.batch_key(True) != none.batch_key(True)
    assert strong.batch_key(False) != weak.batch_key(False)
