"""Another VAE and new words change what is made, and are refused by name where they are for another model."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from transformers import CLIPTokenizer

from darkroom.domain.adapters import InversionRef
from darkroom.domain.errors import DarkroomError, WrongModel
from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import ModelRef
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.renderer import Renderer, RendererSpec, load_renderer
from tests.rendering.helpers import SAMPLING, largest_difference
from tests.rendering.tiny_models import WIDTH


@pytest.fixture(scope="module")
def vae(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's own with other numbers."""
    folder = tmp_path_factory.mktemp("vaes") / "bright"
    other = AutoencoderKL.from_pretrained(models["sd"] / "vae")
    with torch.no_grad():
        other.decoder.conv_out.bias += 0.5
    other.save_pretrained(folder)
    return folder


def embeddings(path: Path, name: str = "<ink>", width: int = WIDTH, count: int = 2) -> Path:
    torch.manual_seed(1)
    save_file({name: torch.randn(count, width)}, path)
    return path


def inspected(model: Path, vae: Path | None = None, *words: InversionRef) -> InspectedModel:
    place = str(vae) if vae else None
    return inspect_model(ModelRef(str(model), dtype="float32", vae=place, textual_inversions=words), "cpu")


def renderer_of(model: InspectedModel) -> Renderer:
    return load_renderer(RendererSpec(model, "cpu", 1))


def rendered(renderer: Renderer, prompt: str = "a cat") -> np.ndarray:
    [image] = renderer.render([ImageRequest("id", prompt, 1, SAMPLING)])
    assert image.pixels is not None, image.error
    return image.pixels


@pytest.mark.slow
def test_another_vae_decodes_and_its_own_is_as_it_was(models: dict[str, Path], vae: Path) -> None:
    plain, own, other = (inspected(models["sd"], each) for each in (None, models["sd"], vae))
    assert [each.identity.parts[0].name for each in (own, other)] == ["model", "bright"]
    assert len({each.identity for each in (plain, own, other)}) == 3
    before = rendered(renderer_of(plain))
    np.testing.assert_array_equal(rendered(renderer_of(own)), before)
    now = rendered(renderer_of(other))
    assert np.median(now.astype(int) - before) == pytest.approx(0.5 * 127.5, abs=2)


@pytest.mark.slow
def test_a_vae_whose_configuration_is_changed_after_it_was_digested_is_not_loaded(
    models: dict[str, Path], vae: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(vae, tmp_path / "copy"))
    model = inspected(models["sd"], copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"scaling_factor": 1.0}))
    with pytest.raises(WrongModel, match=r"model\.vae copy .*config\.json in .* is sha256:"):
        renderer_of(model)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"latent_channels": 16}, "its latent_channels is 16, and that of .* is 4"),
        ({"_class_name": "AutoencoderTiny"}, "its _class_name is AutoencoderTiny"),
        ({"block_out_channels": [8]}, "its number of blocks is 1, and that of .* is 2"),
    ],
)
def test_a_vae_of_other_latents_is_refused(
    models: dict[str, Path], vae: Path, tmp_path: Path, change: dict[str, object], error: str
) -> None:
    copy = Path(shutil.copytree(vae, tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(DarkroomError, match=rf"^model\.vae copy \(.*\) decodes other latents: {error}"):
        inspected(models["sd"], copy)
    with pytest.raises(DarkroomError, match=r"^model\.vae tmp.*|no config\.json there"):
        inspected(models["sd"], tmp_path)


@pytest.mark.slow
def test_a_new_word_means_what_its_file_says_and_other_words_what_they_did(
    models: dict[str, Path], tmp_path: Path
) -> None:
    file = embeddings(tmp_path / "a.safetensors")
    plain, own, named = (
        inspected(models["sd"], None, *words)
        for words in ((), (InversionRef(str(file)),), (InversionRef(str(file), "<wash>"),))
    )
    assert [each.identity.parts[0].name for each in (own, named)] == ["<ink>", "<wash>"]
    first, second, third = map(renderer_of, (plain, own, named))
    np.testing.assert_array_equal(rendered(first), rendered(second))
    with_word = rendered(second, "a cat in <ink>")
    np.testing.assert_array_equal(with_word, rendered(third, "a cat in <wash>"))
    assert largest_difference([with_word], [rendered(first, "a cat in <ink>")]) > 5


@pytest.mark.slow
def test_a_word_of_several_tokens_counts_as_several(models: dict[str, Path], tmp_path: Path) -> None:
    model = inspected(models["sd"], None, InversionRef(str(embeddings(tmp_path / "a.safetensors", count=3))))
    assert model.max_prompt_tokens is not None
    renderer, fitting = renderer_of(model), (model.max_prompt_tokens - 2) // 3  # start and end are tokens too
    requests = [ImageRequest("id", " ".join(["<ink>"] * count), 1, SAMPLING) for count in (fitting, fitting + 1)]
    assert [renderer.render([each])[0].truncated for each in requests] == [False, True]


def test_embeddings_of_another_width_are_refused(models: dict[str, Path], tmp_path: Path) -> None:
    wide = InversionRef(str(embeddings(tmp_path / "wide.safetensors", "emb_params", 768)))
    with pytest.raises(DarkroomError, match=rf"its embeddings have 768 numbers, and .* takes {WIDTH}; give one"):
        inspected(models["sd"], None, wide)
    second = InversionRef(str(embeddings(tmp_path / "second.safetensors", "clip_g")))
    with pytest.raises(DarkroomError, match=r"has no text_encoder_2"):
        inspected(models["sd"], None, second)
    fitting = embeddings(tmp_path / "two words.safetensors", "emb_params")
    with pytest.raises(DarkroomError, match=r"its word 'two words' is no single word; give token="):
        inspected(models["sd"], None, InversionRef(str(fitting)))
    twice = [InversionRef(str(fitting), "<a>")] * 2
    with pytest.raises(DarkroomError, match=r"has two for <a>"):
        inspected(models["sd"], None, *twice)


@pytest.mark.slow
def test_a_word_that_the_model_knows_is_refused(models: dict[str, Path], tmp_path: Path) -> None:
    known = CLIPTokenizer.from_pretrained(models["sd"] / "tokenizer").convert_ids_to_tokens(5)
    file = embeddings(tmp_path / "known.safetensors", known)
    with pytest.raises(DarkroomError, match=r"is one that the model knows; give another as token="):
        renderer_of(inspected(models["sd"], None, InversionRef(str(file))))
    renderer_of(inspected(models["sd"], None, InversionRef(str(file), "<known>")))
