"""Decoding where half precision overflows."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from darkroom.rendering.pipeline_calls import decode_latents
from tests.rendering.helpers import Models, load_with_pipe, requests


@pytest.fixture
def vae(models: Models) -> Any:
    return load_with_pipe(models, "sd", dtype="bfloat16")[1].vae


def overflow(vae: Any, spoil: Callable[[torch.Tensor], torch.Tensor]) -> list[torch.dtype]:
    """From now on, half precision spoils what is decoded. The dtypes that are decoded in."""
    decode, dtypes = vae.decode, []

    def spoiled(latents: torch.Tensor, **options: Any) -> tuple[torch.Tensor]:
        dtypes.append(latents.dtype)
        (image,) = decode(latents, **options)
        return (spoil(image) if latents.dtype == torch.bfloat16 else image,)

    vae.decode = spoiled
    return dtypes


def test_half_precision_that_overflows_is_decoded_again_in_float32(vae: Any) -> None:
    dtypes = overflow(vae, lambda image: image * float("nan"))
    with torch.inference_mode():
        assert torch.isfinite(decode_latents(vae, torch.randn(1, 4, 8, 8, dtype=torch.bfloat16))).all()
    assert dtypes == [torch.bfloat16, torch.float32]
    assert vae.dtype == torch.bfloat16


def test_an_image_that_overflows_leaves_its_neighbours_as_they_are(vae: Any) -> None:
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.inference_mode():
        alone = decode_latents(vae, latents)
        overflow(vae, lambda image: image.index_fill(0, torch.tensor([1]), float("inf")))
        beside = decode_latents(vae, latents)
    assert torch.equal(beside[0], alone[0])
    assert torch.equal(beside[2], alone[2])
    assert torch.isfinite(beside[1]).all()
    assert not torch.equal(beside[1], alone[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dtype", "decoded_in"),
    [("sdxl", "float16", "bfloat16"), ("sdxl", "bfloat16", "bfloat16"), ("sd", "float16", "float16")],
)
def test_a_decoder_that_float16_overflows_is_not_run_in_float32(
    models: Models, name: str, dtype: str, decoded_in: str
) -> None:
    renderer, pipe = load_with_pipe(models, name, dtype)
    dtypes = overflow(pipe.vae, lambda image: image)
    assert [image.error for image in renderer.render(requests(2))] == [None, None]
    assert dtypes == [getattr(torch, decoded_in)]
