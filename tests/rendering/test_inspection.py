import hashlib
import json
import shutil
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from safetensors.torch import load_file, save_file

from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import ModelRef
from darkroom.rendering.inspected_model import call_default, check_arguments, token_counter
from darkroom.rendering.inspection import inspect_model


def edit_index(folder: Path, **changes: object) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def copy(models: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(models["sd"], tmp_path / "copy"))


def test_a_model_is_named_by_its_bytes_wherever_it_lies(models: dict[str, Path], copy: Path) -> None:
    first, second = (inspect_model(ModelRef(str(folder)), "cpu").identity for folder in (models["sd"], copy))
    assert first.revision == second.revision
    assert first.revision.startswith("sha256:")
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    (copy / "README.md").write_text("words change nothing")
    assert inspect_model(ModelRef(str(copy)), "cpu").identity.revision != first.revision


def test_a_model_of_links_is_the_model_that_they_point_to(models: dict[str, Path], tmp_path: Path) -> None:
    for item in models["sd"].iterdir():
        (tmp_path / item.name).symlink_to(item)
    for trusts in (False, True):
        real, linked = (ModelRef(str(folder), trust_remote_code=trusts) for folder in (models["sd"], tmp_path))
        assert inspect_model(linked, "cpu").identity.revision == inspect_model(real, "cpu").identity.revision


def test_linked_code_belongs_to_a_trusted_models_digest(copy: Path, tmp_path: Path) -> None:
    trusted, more = ModelRef(str(copy), trust_remote_code=True), tmp_path / "more"
    more.mkdir()
    (copy / "more").symlink_to(more)
    (more / "circle").symlink_to(copy)
    before = inspect_model(trusted, "cpu").identity.revision
    (more / "code.py").write_text("STRENGTH = 2\n")
    assert inspect_model(trusted, "cpu").identity.revision != before


def test_a_file_that_cannot_be_read_is_named(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: BinaryIO, kind: str) -> None:
        raise PermissionError(13, "Permission denied", file.name)

    monkeypatch.setattr(hashlib, "file_digest", refuse)  # the user who runs the tests may read everything
    with pytest.raises(DarkroomError, match=r"cannot be read \(Permission denied\); make it readable"):
        inspect_model(ModelRef(str(copy)), "cpu")


def test_weights_for_other_programs_are_no_part_of_a_model(copy: Path) -> None:
    before = inspect_model(ModelRef(str(copy)), "cpu").identity.revision
    for name in ("openvino_model.xml", "openvino_model.bin", "flax_model.msgpack", "model.onnx"):
        (copy / "unet" / name).write_text("as a hub's snapshot has them")
    assert inspect_model(ModelRef(str(copy)), "cpu").identity.revision == before


def test_size_family_and_token_limit_are_read_from_small_files(models: dict[str, Path]) -> None:
    sd, sd3 = (inspect_model(ModelRef(str(models[name])), "cpu") for name in ("sd", "sd3"))
    assert (sd.height, sd.width, sd.is_flow, sd.max_prompt_tokens) == (16, 16, False, 32)
    assert sd3.is_flow
    count = token_counter(sd)
    assert count
    assert count(["", "a red circle"]) == [2, 5]


def test_a_tokenizer_that_names_code_does_not_run_it_whatever_stdin_says(copy: Path, monkeypatch) -> None:
    trace, path = copy / "trace", copy / "tokenizer" / "tokenizer_config.json"
    named = {"auto_map": {"AutoTokenizer": ["mine.Mine", "mine.Mine"]}, "tokenizer_class": "Mine"}
    path.write_text(json.dumps({**json.loads(path.read_text()), **named}))
    (copy / "tokenizer" / "mine.py").write_text(f"open({str(trace)!r}, 'w')\nclass Mine: pass\n")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    count = token_counter(inspect_model(ModelRef(str(copy)), "cpu"))
    assert count
    assert count(["", "a red circle"]) == [2, 5]
    assert not trace.exists()


def test_a_tokenizer_of_a_models_own_is_not_counted_with(copy: Path) -> None:
    edit_index(copy, tokenizer=["mine", "Mine"])
    assert token_counter(inspect_model(ModelRef(str(copy), trust_remote_code=True), "cpu")) is None


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_auto_is_float32_on_a_cpu_and_what_is_stored_elsewhere(copy: Path, dtype: str) -> None:
    """The denoiser's: the others stay float32 here."""
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = {name: tensor.to(getattr(torch, dtype)) for name, tensor in load_file(weights).items()}
    save_file(tensors, weights, {"format": "pt"})
    found = [inspect_model(ModelRef(str(copy)), device).identity.dtype for device in ("cpu", "cuda")]
    assert found == ["float32", dtype]
    assert inspect_model(ModelRef(str(copy), dtype="bfloat16"), "cuda").identity.dtype == "bfloat16"


def test_auto_reads_the_variant_that_is_loaded(copy: Path) -> None:
    for part in ("unet", "vae", "text_encoder"):
        for weights in (copy / part).glob("*.safetensors"):
            half = {name: tensor.half() for name, tensor in load_file(weights).items()}
            save_file(half, weights.with_suffix(".fp16.safetensors"), {"format": "pt"})
    found = [inspect_model(ModelRef(str(copy), variant=variant), "cuda").identity.dtype for variant in (None, "fp16")]
    assert found == ["float32", "float16"]


def test_a_pickle_is_refused_with_the_way_out(copy: Path) -> None:
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(DarkroomError, match=r"pickle.*save_pretrained"):
        inspect_model(ModelRef(str(copy)), "cpu")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"_class_name": "StableDiffusionImg2ImgPipeline"}, "no image from text alone"),
        ({"_class_name": ["my_pipeline", "MyPipeline"]}, "trust_remote_code"),
        ({"unet": ["my_code", "MyUNet"]}, "trust_remote_code"),
        ({"_class_name": None}, "no pipeline class"),
    ],
)
def test_what_is_no_plain_text_to_image_model_is_refused(copy: Path, changes: dict, words: str) -> None:
    edit_index(copy, **changes)
    with pytest.raises(DarkroomError, match=words) as caught:
        inspect_model(ModelRef(str(copy)), "cpu")
    assert "\n" not in str(caught.value)


def test_missing_things_are_named(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DarkroomError, match=r"variant=fp16"):
        inspect_model(ModelRef(str(copy), variant="fp16"), "cpu")
    (copy / "model_index.json").unlink()
    with pytest.raises(DarkroomError, match=r"model_index\.json"):
        inspect_model(ModelRef(str(copy)), "cpu")
    with pytest.raises(DarkroomError, match="no such folder"):
        inspect_model(ModelRef("./nowhere"), "cpu")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DarkroomError, match="neither a local folder nor to be had from the hub"):
        inspect_model(ModelRef("nobody/nothing"), "cpu")


def test_a_hub_model_is_named_by_its_commit(models: dict[str, Path], tmp_path: Path, monkeypatch) -> None:
    """A cache as the hub's client lays it out, read offline."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "models--someone--tiny"
    shutil.copytree(models["sd"], repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    model = inspect_model(ModelRef("someone/tiny", revision="main"), "cpu")
    assert (model.identity.revision, model.identity.repo_id, model.source) == (commit, "someone/tiny", "someone/tiny")


def test_a_models_defaults_are_those_of_its_call(models: dict[str, Path]) -> None:
    sd, sd3 = (inspect_model(ModelRef(str(models[name])), "cpu") for name in ("sd", "sd3"))
    names = ("guidance_scale", "num_inference_steps", "height", "width")
    assert [call_default(sd, name) for name in names] == [7.5, 50, sd.height, sd.width]
    assert [call_default(sd3, name) for name in names[:2]] == [7.0, 28]
    assert call_default(sd, "no_such_argument") is None


def test_an_argument_that_a_pipeline_does_not_take_is_refused(models: dict[str, Path]) -> None:
    sd, sd3 = (inspect_model(ModelRef(str(models[name])), "cpu") for name in ("sd", "sd3"))
    check_arguments(["guidance_rescale"], sd, "")
    with pytest.raises(DarkroomError, match=r"StableDiffusion3Pipeline of .* takes no guidance_rescale; leave it out"):
        check_arguments(["guidance_rescale"], sd3, "leave it out")
