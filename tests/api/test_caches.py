"""What is asked of caches of steps: by two settings of use together alone, of the denoisers that have them."""

from pathlib import Path
from typing import Any

import pytest

import darkroom
from darkroom.api.arguments import prompts_of
from darkroom.api.checking import Checked, Request, check
from darkroom.api.compiling import chosen
from darkroom.api.options import EngineOptions
from darkroom.api.warnings import warnings
from darkroom.domain.errors import DarkroomError
from darkroom.domain.setting_values import sampling_defaults
from darkroom.domain.settings import ModelRef
from darkroom.engine.planning import Grid
from tests.rendering.tiny_families import tiny

SIZE = {"height": 32, "width": 32, "num_inference_steps": 6}


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny("flux_dev", tmp_path_factory.mktemp("flux") / "flux")


def checked(
    model: Path | str, grid: dict[str, Any] | None = None, compile: bool | str = "auto", **given: Any
) -> Checked:
    asked = sampling_defaults() | SIZE | given
    engine = EngineOptions(compile=compile)
    return check(
        Request(prompts_of(["a"]), ModelRef(str(model)), asked, engine=engine, grid=Grid(grid) if grid else None), "cpu"
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cache": "taylorseer"}, r"^sampling\.cache=taylorseer: at sampling\.cache_interval=1 every step is computed"),
        (
            {"cache_interval": 3},
            r"^sampling\.cache_interval=3: FluxPipeline has caches of several kinds; give sampling",
        ),
        ({"cache": "none", "cache_interval": 3}, r"give sampling\.cache too, as one of taylorseer, taylorseer_lite"),
        (
            {"cache": "taylorseer", "cache_interval": 3, "compile": True},
            r"^sampling\.cache=taylorseer: .* leave out sampling\.cache or engine\.compile",
        ),
        ({"guidance_stop": 0.5}, r"^sampling\.guidance_stop=0\.5: the steps of FluxPipeline cannot be changed"),
    ],
)
def test_what_does_nothing_or_cannot_be_is_refused(flux: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(DarkroomError, match=said):
        checked(flux, **given)


def test_a_unet_has_one_way_without_a_name(tmp_path: Path) -> None:
    with pytest.raises(
        DarkroomError, match=r"StableDiffusionPipeline has a UNet; leave it out, and give sampling\.cache_i"
    ):
        checked("darkroom/demo", cache="taylorseer", cache_interval=3)
    checked("darkroom/demo", cache_interval=3)
    with pytest.raises(
        DarkroomError, match=r"^sampling\.cache=taylorseer: CogView3PlusPipeline has none; leave it out"
    ):
        checked(tiny("cogview3", tmp_path / "cogview3"), cache="taylorseer", cache_interval=3)
    with pytest.raises(
        DarkroomError, match=r"CogView4Pipeline has others; give one of taylorseer_lite, pyramid_attention"
    ):
        checked(tiny("cogview4", tmp_path / "cogview4"), cache="taylorseer", cache_interval=3)


def test_cells_of_one_axis_are_beside_the_cell_without_a_cache(flux: Path) -> None:
    plain = checked(flux).cells[0].cell
    by_interval = checked(flux, {"cache_interval": [1, 2, 3]}, cache="taylorseer")
    by_cache = checked(flux, {"cache": ["none", "taylorseer", "pyramid_attention_broadcast"]}, cache_interval=2)
    both = checked(flux, {"cache": ["none", "taylorseer"], "cache_interval": [1, 2]})
    for found, count in ((by_interval, 3), (by_cache, 3), (both, 2)):
        cells = [item.cell for item in found.cells]
        assert len(cells) == count
        assert cells[0].cell_id == plain.cell_id
        assert all(cell.lossless[0].cell_id == plain.cell_id for cell in cells[1:])
    assert by_cache.cells[1].cell.lossy == {"cache": "taylorseer", "cache_interval": 2}


def test_too_few_steps_are_warned_of(flux: Path) -> None:
    given = {"cache": "taylorseer", "cache_interval": 2}
    assert "does nothing in 3 steps" in " ".join(warnings(checked(flux, num_inference_steps=3, **given)))
    assert not [text for text in warnings(checked(flux, **given)) if "cache" in text]


def test_a_model_with_a_cache_is_not_compiled_by_itself(flux: Path) -> None:
    found = checked(flux, cache="taylorseer", cache_interval=2)
    assert "sampling.cache changes layers" in chosen(found, EngineOptions(), "cuda", 1, None).text


@pytest.mark.slow
def test_cells_of_one_worker_make_what_each_makes_alone(flux: Path, tmp_path: Path) -> None:
    ways: list[dict[str, Any]] = [
        {},
        {"cache": "taylorseer", "cache_interval": 2},
        {"cache": "pyramid_attention_broadcast", "cache_interval": 2},
        {"cache": "taylorseer_lite", "cache_interval": 3},
    ]
    prompts = ["a red circle", "a large blue square beside a small green triangle", "x"]
    shared: dict[str, Any] = {"model": str(flux), **SIZE, "engine": EngineOptions(batch_size=2, shard_size=2)}
    swept = darkroom.sweep(
        prompts, cells=[{"guidance_scale": 3.5, **each} for each in ways], out=tmp_path / "all", **shared
    )
    digests: dict[str, list[str]] = {}
    for cell_id, rows in swept.table(["cell_id", "row", "sha256"]).to_pandas().groupby("cell_id"):
        digests[str(cell_id)] = list(rows.sort_values("row").sha256)
    assert len({tuple(each) for each in digests.values()}) == len(ways)
    for number, each in enumerate(ways):
        run = darkroom.generate(prompts, out=tmp_path / str(number), guidance_scale=3.5, **each, **shared)
        rows = run.table(["cell_id", "row", "sha256"]).to_pandas().sort_values("row")
        assert list(rows.sha256) == digests[rows.cell_id[0]]
