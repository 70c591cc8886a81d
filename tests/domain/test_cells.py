"""What cells and their images are called, written down: another name would orphan the images of everybody's runs."""

from dataclasses import replace

import pytest

from darkroom.domain.cells import Cell, ModelIdentity
from darkroom.domain.requests import PromptRow, samples
from darkroom.domain.settings import Sampling
from darkroom.encoding.settings_text import parameters_line, settings_json

MODEL = ModelIdentity("some/model", "sha256:abcdef", "float32", "StableDiffusionPipeline")
SAMPLING = Sampling("ddim", 5.0, 20, 64, 64)
WORDED = Sampling("dpmpp_2m_karras", 7.5, 25, 512, 768, "blurry, é")
INTERVAL = Cell(MODEL, replace(SAMPLING, guidance_start=0.25, guidance_stop=0.75))
FLOAT8 = Cell(replace(MODEL, dtype="float8", variant="fp16"), SAMPLING)
TRUSTED = Cell(replace(MODEL, revision="0123abcd", trust_remote_code=True), SAMPLING)
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


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        (Cell(MODEL, SAMPLING), "04d01ba949dfd3d4"),
        (Cell(MODEL, WORDED), "e45d00213f32ce86"),
        (INTERVAL, "12b777eaee903eea"),
        (Cell(MODEL, replace(SAMPLING, cache_interval=3)), "748795ab60aa9810"),
        (FLOAT8, "f5f86f7ae9661d4d"),
        (TRUSTED, "d12114a568522add"),
    ],
)
def test_cells_are_called_what_they_were(cell: Cell, name: str) -> None:
    assert cell.cell_id == name


def test_the_same_cells_without_a_loss_are_called_what_they_were() -> None:
    assert [cell.cell_id for cell in INTERVAL.lossless] == ["04d01ba949dfd3d4"]
    assert [cell.cell_id for cell in FLOAT8.lossless] == ["3a3e234b47d01581", "c2149c69c82e37b6", "22e084ef2b42e400"]


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
