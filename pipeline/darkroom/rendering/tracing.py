"""What a call holds beside weights, traced: nothing is computed, and no weights are read.

The decoder and a UNet's step run on torch's meta device, which knows shapes alone, and the bytes that live at once are
counted. It is an estimate: libraries take workspaces besides.
"""

import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from darkroom.domain.settings import NONE, Sampling
from darkroom.rendering.inspected_model import InspectedModel, call_default, size_unit
from darkroom.rendering.loading import loads_models
from darkroom.rendering.memory import CallBytes
from darkroom.rendering.memory_options import empty_vae, tile_side, vae_config
from darkroom.rendering.model_facts import config_of, vae_scale
from darkroom.rendering.pipeline_calls import is_guided
from darkroom.rendering.refiner import refiner_folder, refiner_of
from darkroom.rendering.transformer_caches import cached_dtype, cached_numbers

_TOKENS = 77  # of CLIP's text encoders
_ADDED = (None, "text", "text_time")  # what a UNet is told besides, as far as it is known here


@loads_models
def call_bytes(model: InspectedModel, sampling: Sampling) -> CallBytes:
    """What a call with these settings holds."""
    assert model.folder
    folder = Path(model.folder)
    config, scale = vae_config(folder, model.parts), vae_scale(folder)
    vae, side = empty_vae(config), tile_side(config)
    sides = sampling.height // scale, sampling.width // scale
    is_tiled = side is not None and max(sampling.height, sampling.width) > side
    refiner = refiner_of(model.parts)
    unets = [folder / "unet", *([refiner_folder(refiner) / "unet"] if refiner else [])]
    return CallBytes(
        step=max(_step_bytes(config_of(unet), sides, 2 if sampling.is_guided else 1) for unet in unets),
        decoding=0 if sampling.is_video else _decoding_bytes(vae, sides),
        tile=_decoding_bytes(vae, (side // scale, side // scale)) if is_tiled and side else 0,
        cached=_cached_numbers(model, sampling),
        cached_dtype=cached_dtype(sampling.cache),
    )


def _cached_numbers(model: InspectedModel, sampling: Sampling) -> int:
    """Of one image, with as much text as the model reads."""
    if sampling.cache == NONE or not model.family.caches:
        return 0
    import diffusers

    assert model.folder
    folder = Path(model.folder)
    config = config_of(folder / "transformer")
    is_packed = model.family.unit_of_latents  # before they come to the transformer
    side = size_unit(model) if is_packed else vae_scale(folder) * config["patch_size"]
    with torch.device("meta"):
        transformer = getattr(diffusers, config["_class_name"]).from_config(config)
    num_tokens = (sampling.height // side) * (sampling.width // side)
    num_branches = 2 if is_guided(model.family, sampling) else 1
    return num_branches * cached_numbers(transformer, sampling.cache, num_tokens, _most_text(model))


def _most_text(model: InspectedModel) -> int:
    """Tokens, as the pipeline cuts them off where its call is not told otherwise."""
    return int(call_default(model, "max_sequence_length") or sum(each.limit or 0 for each in model.family.tokens))


def _decoding_bytes(vae: Any, sides: tuple[int, int]) -> int:
    """0 for a VAE whose latents are no plain pictures."""
    channels = getattr(getattr(vae, "config", None), "latent_channels", None)
    if channels is None or not hasattr(vae, "post_quant_conv"):
        return 0
    return peak_bytes(lambda: vae.decode(torch.empty(1, channels, *sides, device="meta")))


def _step_bytes(config: Mapping[str, Any], sides: tuple[int, int], num_rows: int) -> int:
    """0 for a denoiser that is no UNet of Stable Diffusion's kind."""
    import diffusers

    text_width = config.get("encoder_hid_dim") or config.get("cross_attention_dim")
    is_known = config.get("_class_name") == "UNet2DConditionModel" and config.get("addition_embed_type") in _ADDED
    if not is_known or not isinstance(text_width, int):
        return 0
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel.from_config(dict(config))
        latents, text = (
            torch.empty(num_rows, config["in_channels"], *sides),
            torch.empty(num_rows, _TOKENS, text_width),
        )
        added = None
        if config.get("addition_embed_type") == "text_time":
            pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
            added = {"text_embeds": torch.empty(num_rows, pooled), "time_ids": torch.empty(num_rows, 6)}
        return peak_bytes(lambda: unet(latents, torch.empty(1), text, added_cond_kwargs=added))


def peak_bytes(call: Callable[[], Any]) -> int:
    """The most bytes that the call's tensors, on the meta device, hold at once."""
    counting = _Counting()
    with torch.no_grad(), _FusedAttention(), counting:
        call()
    return counting.peak


class _Counting(TorchDispatchMode):
    """Adds up the storages that were made inside and are still held."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._live: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {id(each) for each in _storages((args, kwargs))}  # weights too, of which views are made
        made = func(*args, **(kwargs or {}))
        for storage in _storages(made):
            if id(storage) not in given:
                self._add(storage)
        self.peak = max(self.peak, sum(self._live.values()))
        return made

    def _add(self, storage: torch.UntypedStorage) -> None:
        if id(storage) not in self._live:
            self._live[id(storage)] = storage.nbytes()
            weakref.finalize(storage, self._live.pop, id(storage), None)


def _storages(values: Any) -> list[torch.UntypedStorage]:
    """Of all tensors in nested tuples, lists and dictionaries."""
    return [each.untyped_storage() for each in tree_leaves(values) if isinstance(each, torch.Tensor)]


class _FusedAttention(TorchFunctionMode):
    """Attention as devices compute it: without the matrix of all pairs."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        attends = func is torch.nn.functional.scaled_dot_product_attention
        return (_attended if attends else func)(*args, **(kwargs or {}))


def _attended(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return query.new_empty(*query.shape[:-1], value.shape[-1])
