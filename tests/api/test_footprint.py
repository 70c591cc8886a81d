"""What is proposed where a model does not fit: the fewest of the cheapest settings, in their order."""

from dataclasses import replace

import pytest

from darkroom.api import footprint
from darkroom.api.arguments import prompts_of
from darkroom.api.checking import Request, check
from darkroom.api.footprint import Memory, remedies_of
from darkroom.api.options import EngineOptions
from darkroom.domain.errors import DarkroomError
from darkroom.domain.setting_values import sampling_defaults
from darkroom.domain.settings import QUANTIZATIONS
from darkroom.rendering.memory import CallBytes, Held, ModelMemory
from darkroom.runs.commands import presets

HELD = Held("float32", 8)
CALL = CallBytes(step=20, decoding=200, tile=30)
BASE = 50


@pytest.fixture
def needs(monkeypatch: pytest.MonkeyPatch) -> ModelMemory:
    """1000 in float32 for the denoiser, 100 for the rest; a call of eight images takes 1600."""

    def weights(_self: ModelMemory, held: Held) -> dict[str, int]:
        share = {"float32": 4, "bfloat16": 2}[held.dtype] if held.quantization == "none" else 1
        return {"text_encoder": 12 * share, "unet": 250 * share, "vae": 52}

    monkeypatch.setattr(ModelMemory, "weights", weights)
    monkeypatch.setattr(ModelMemory, "_largest_tensor", 5)
    return ModelMemory({}, CALL)


@pytest.mark.parametrize(
    ("total", "device", "wanted"),
    [
        (5000, "cuda", []),
        (1400, "cuda", ["model.vae_slicing=true"]),  # 1100 of weights, 200 of a call
        (1250, "cuda", ["model.vae_slicing=true", "model.offload=model"]),
        (1250, "cpu", ["model.vae_slicing=true", "model.dtype=bfloat16"]),
        (450, "cpu", ["engine.batch_size=1", "model.vae_tiling=true", f"model.quantization={QUANTIZATIONS[0]}"]),
        (20, "cuda", []),
    ],
)
def test_the_cheapest_settings_that_make_it_fit(needs: ModelMemory, total: int, device: str, wanted: list[str]) -> None:
    found = list(remedies_of(needs, HELD, BASE, total, 1, device))
    assert found == wanted


def test_every_proposal_fits_and_needs_all_of_its_settings(needs: ModelMemory) -> None:
    known = {each.words: each for each in footprint._CHANGES}
    for total in range(100, 3000, 50):
        chosen = [known[words] for words in remedies_of(needs, HELD, BASE, total, 1, "cuda")]
        if chosen:
            assert BASE + needs.on_device(footprint._changed(HELD, chosen)) <= total
            for each in chosen:
                others = [other for other in chosen if other is not each]
                assert BASE + needs.on_device(footprint._changed(HELD, others)) > total


def test_fewer_workers_come_first_where_one_fits(needs: ModelMemory) -> None:
    one = BASE + needs.on_device(HELD)
    assert list(remedies_of(needs, HELD, BASE, 3 * one, 8, "cpu")) == ["engine.num_workers=3"]
    assert list(remedies_of(needs, HELD, BASE, 1400, 8, "cpu")) == ["engine.num_workers=1", "model.vae_slicing=true"]


def test_what_was_measured_of_one_worker_says_how_many_fit() -> None:
    found = footprint.measured(Memory({"unet": 10}, 100, False, 1000, 8, ("model.vae_slicing=true",)), 300)
    assert (found.is_measured, found.fits, found.remedies) == (True, False, ("engine.num_workers=3",))
    assert footprint.measured(found, 100).remedies == ()
    alone = footprint.measured(Memory({"unet": 10}, 100, False, 1000, 1, ("model.vae_slicing=true",)), 1100)
    assert alone.advice == "it would fit with model.vae_slicing=true"
    assert "take less" in footprint.measured(Memory({"unet": 10}, 100, False, 1000, 1), 1100).advice


def test_what_is_refused_beside_another_setting_is_not_proposed(needs: ModelMemory) -> None:
    words = [each.words for each in footprint._allowed(replace(HELD, dtype="float8"), "cuda", stays=True)]
    assert not any("quantization" in each or "offload" in each for each in words)
    assert len(footprint._allowed(HELD, "cuda", stays=False)) == len(footprint._CHANGES)


def test_weights_that_are_more_than_there_is_are_refused_with_what_would_make_them_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(footprint, "taken_bytes", lambda _device: 0)
    asked = sampling_defaults() | {"height": 64, "width": 64}
    found, by_openvino = (
        check(Request(prompts_of(["a"]), presets()["demo"], asked, engine=EngineOptions(backend=backend)), "cpu")
        for backend in ("torch", "openvino")
    )
    assert footprint.check_weights(found, "cpu") == 16_718_124
    assert footprint.check_weights(by_openvino, "cpu") == 16_718_124 + 11_729_808  # the UNet once more
    monkeypatch.setattr(footprint, "total_bytes", lambda _device: 16_000_000)
    with pytest.raises(DarkroomError, match=r"^darkroom/demo does not fit into memory: .*it would fit with .*bfloat16"):
        footprint.check_weights(found, "cpu")
    monkeypatch.setattr(footprint, "total_bytes", lambda _device: 20_000_000)
    with pytest.raises(DarkroomError, match=r"unet in openvino 11.7 MB.*it would fit with engine\.backend=torch"):
        footprint.check_weights(by_openvino, "cpu")
    monkeypatch.setattr(footprint, "total_bytes", lambda _device: None)
    assert footprint.check_weights(found, "cpu") is None


def test_it_is_said_in_one_line() -> None:
    found = Memory({"unet": 3_400_000_000, "vae": 300_000_000}, 5_000_000_000, False, 24_000_000_000, 2)
    assert found.fits
    assert found.text == (
        "about 5.0 GB for each of 2 workers, estimated, of 24.0 GB; weights 3.7 GB (unet 3.4 GB, vae 300.0 MB)"
    )
    assert "no setting makes it fit" in found.advice
