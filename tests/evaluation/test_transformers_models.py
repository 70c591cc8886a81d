"""CLIP and DINOv2: the same numbers as transformers' own way, and what is wrong with a folder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer, CLIPModel

from darkroom.demo import CLIP_FOLDER, world
from darkroom.demo.drawing import draw
from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.extractor import ExtractorSpec
from darkroom.evaluation.opening import inspect_extractor, load_extractor
from tests.evaluation.random_weights import tiny_dinov2

LONG = "a large red circle above a small blue square on a white background " * 4
CAPTIONS = ["", "a red circle", LONG]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(CLIP_FOLDER, tmp_path / "clip"))


def clip_at(folder: Path) -> ExtractorSpec:
    return ExtractorSpec("clip", str(folder), batch_size=4)


def edit(path: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (first / np.linalg.norm(first, axis=1, keepdims=True)) @ second.T


@pytest.mark.slow
def test_pictures_and_captions_equal_a_plain_clips() -> None:
    picture = np.random.RandomState(0).randint(0, 256, (64, 64, 3)).astype(np.uint8)
    clip = load_extractor(ExtractorSpec())
    plain, tokenizer = (
        CLIPModel.from_pretrained(CLIP_FOLDER, dtype=torch.float32),
        AutoTokenizer.from_pretrained(CLIP_FOLDER),
    )
    tokens = tokenizer(CAPTIONS, padding=True, truncation=True, max_length=32, return_tensors="pt")
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.inference_mode():
        output = plain(**tokens, pixel_values=pixels)
        raw = plain.get_image_features(pixels).pooler_output
    np.testing.assert_allclose(clip.features([picture]), raw.numpy(), atol=1e-4)
    np.testing.assert_allclose(clip.caption_features(CAPTIONS), output.text_embeds.numpy(), atol=1e-5)
    scores = cosine(clip.features([picture]), clip.caption_features(CAPTIONS)) * plain.logit_scale.exp().item()
    np.testing.assert_allclose(scores, output.logits_per_image.numpy(), atol=1e-3)


@pytest.mark.slow
def test_a_caption_fits_its_own_drawing_best() -> None:
    scenes = world.distinct_scenes(3, 16)
    rng = np.random.default_rng(0)
    clip = load_extractor(ExtractorSpec())
    pictures = clip.features([draw(scene, rng) for scene in scenes])
    similarity = cosine(pictures, clip.caption_features([scene.caption() for scene in scenes]))
    assert (similarity.argmax(1) == np.arange(16)).mean() > 0.7


def test_long_captions_are_counted_and_keep_their_end() -> None:
    clip = load_extractor(ExtractorSpec(batch_size=2))
    tokenizer = AutoTokenizer.from_pretrained(CLIP_FOLDER)
    words = LONG.split()
    fitting = max(n for n in range(len(words)) if len(tokenizer(" ".join(words[:n])).input_ids) <= 32)
    captions = [" ".join(words[:count]) for count in (fitting, fitting + 1)]
    assert clip.truncated([*captions, LONG, ""]).tolist() == [False, True, True, False]
    assert clip.truncated([]).shape == (0,)
    features = clip.caption_features([*captions, LONG])
    np.testing.assert_array_equal(features[1], features[2])  # the same words before the limit, then the end token
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)
    assert cosine(features[:1], features[1:2])[0, 0] > 0.9  # cut without its end token, it would mean something else


def test_captions_do_not_depend_on_their_neighbours() -> None:
    clip = load_extractor(ExtractorSpec(batch_size=2))
    together = clip.caption_features(CAPTIONS)
    np.testing.assert_array_equal(clip.caption_features(CAPTIONS[::-1]), together[::-1])
    assert clip.caption_features([]).shape == (0, 64)


def test_dinov2_gives_the_cls_token(dinov2_folder: Path) -> None:
    picture = np.random.RandomState(0).randint(0, 256, (56, 56, 3)).astype(np.uint8)
    dinov2 = load_extractor(ExtractorSpec("dinov2", str(dinov2_folder), "clean", batch_size=1))
    mean, std = (torch.tensor(values)[:, None, None] for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    pixels = (torch.from_numpy(picture).permute(2, 0, 1)[None] / 255 - mean) / std
    with torch.inference_mode():
        plain = AutoModel.from_pretrained(dinov2_folder)(pixel_values=pixels).pooler_output
    np.testing.assert_allclose(dinov2.features([picture]), plain.numpy(), atol=1e-5)
    assert "clean 56x56" in dinov2.info.resize


@pytest.mark.slow
def test_weights_in_shards_give_the_same_features_and_a_pickle_is_refused(folder: Path, pictures) -> None:
    whole = load_extractor(clip_at(folder))
    model = CLIPModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="400KB")
    shards = load_extractor(clip_at(folder))
    assert len(list(folder.glob("*.safetensors"))) > 2
    for path in folder.glob("model*"):
        path.unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    assert shards.info.weights != whole.info.weights
    np.testing.assert_array_equal(shards.features(pictures(2)), whole.features(pictures(2)))
    with pytest.raises(DarkroomError, match="a pickle, which can run code, convert it"):
        load_extractor(clip_at(folder))


def test_a_model_is_named_by_its_bytes_wherever_it_lies(folder: Path) -> None:
    first = inspect_extractor(clip_at(folder))
    assert (
        first.weights == inspect_extractor(clip_at(CLIP_FOLDER)).weights == inspect_extractor(ExtractorSpec()).weights
    )
    state = load_file(folder / "model.safetensors")
    state["logit_scale"] += 1
    save_file(state, folder / "model.safetensors")
    assert inspect_extractor(clip_at(folder)).weights != first.weights


def test_weights_that_lack_a_tensor_are_not_made_up(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    del state["visual_projection.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DarkroomError, match=r"lack 1 tensors.*visual_projection\.weight"):
        load_extractor(clip_at(folder))


def test_what_is_wrong_with_a_folder_is_said(folder: Path) -> None:
    def refused(words: str) -> None:
        with pytest.raises(DarkroomError, match=words) as caught:
            inspect_extractor(clip_at(folder))
        assert "\n" not in str(caught.value)

    edit(folder / "preprocessor_config.json", lambda config: config.update(crop_size=32))
    refused(r"makes \(32, 32\) pixels, its network takes \(64, 64\)")
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    refused(r"has no model\.safetensors")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1-of-1.safetensors"}}')
    refused(r"lacks model-1-of-1\.safetensors")
    edit(folder / "config.json", lambda config: config.update(model_type="siglip"))
    refused("is a siglip, not a clip")
    (folder / "config.json").write_text("{")
    refused("is not JSON")
    (folder / "config.json").unlink()
    refused(r"has no config\.json")


def test_a_hub_model_is_found_in_the_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache as the hub's client lays it out, read offline."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "models--someone--clip"
    folder.rename(repo.parent / "snapshot")
    (repo / "snapshots").mkdir(parents=True)
    (repo.parent / "snapshot").rename(repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = inspect_extractor(ExtractorSpec("clip", "someone/clip"))
    assert found.weights == inspect_extractor(ExtractorSpec()).weights
    with pytest.raises(DarkroomError, match="nor to be had from the hub"):
        inspect_extractor(ExtractorSpec("clip", "nobody/nothing"))


def test_dinov2_is_seen_and_placed_as_dgm_eval_does(tmp_path: Path) -> None:
    """Against Pillow and torch alone: 8-bit bicubic to 224 x 224, positions by the scale of facebookresearch/dinov2."""
    folder = tiny_dinov2(tmp_path / "dinov2")
    picture = np.random.RandomState(0).randint(0, 256, (90, 130, 3)).astype(np.uint8)
    found = load_extractor(ExtractorSpec("dinov2", str(folder), "dgm-eval", batch_size=1))
    resized = np.asarray(Image.fromarray(picture).resize((224, 224), Image.Resampling.BICUBIC))
    mean, std = (torch.tensor(values)[:, None, None] for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    pixels = (torch.from_numpy(resized.copy()).permute(2, 0, 1)[None] / 255 - mean) / std
    plain = AutoModel.from_pretrained(folder)
    whole = plain.embeddings.position_embeddings.detach()
    grid = whole[:, 1:].reshape(1, 5, 5, -1).permute(0, 3, 1, 2)
    moved = torch.nn.functional.interpolate(grid, scale_factor=(16.1 / 5, 16.1 / 5), mode="bicubic")
    placed = torch.cat([whole[:, :1], moved.permute(0, 2, 3, 1).reshape(1, 256, -1)], dim=1)
    with torch.inference_mode():
        ours = plain(pixel_values=pixels).pooler_output
        plain.embeddings.position_embeddings = torch.nn.Parameter(placed)
        theirs = plain(pixel_values=pixels).pooler_output
    np.testing.assert_allclose(found.features([picture]), theirs.numpy(), atol=1e-5)
    assert not np.allclose(ours.numpy(), theirs.numpy(), atol=1e-4)
    assert found.info.resize.startswith("dgm-eval: bicubic 224x224, crop 224x224, mean 0.485,0.456,0.406, std 0.229")
    assert found.info.resize.endswith("positions as facebookresearch/dinov2")
    edit(folder / "config.json", lambda config: config.update(model_type="dinov2_with_registers"))
    with pytest.raises(DarkroomError, match="resize=dgm-eval: published figures are of a DINOv2 without registers"):
        inspect_extractor(ExtractorSpec("dinov2", str(folder), "dgm-eval"))
