"""Image files as prompts: what each tool writes into them, and files that cannot be made again."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.formats import open_as
from darkroom.prompts.reading import Reading
from tests.prompts.reading import extras, rows, write

IMAGES = Reading("images")
A1111 = (
    "a (cat:1.2)\nsecond line\nNegative prompt: [ugly]\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG "
    'scale: 7.5, Seed: 5, Size: 512x768, Model: mine, Clip skip: 2, Lora hashes: "x: a, y: b", ENSD: 3'
)
GRAPH = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": ["9", 0],
            "steps": 20,
            "cfg": 8,
            "sampler_name": "dpmpp_2m",
            "scheduler": "karras",
            "positive": ["10", 0],
            "negative": ["10", 1],
            "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sdxl.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 1024, "height": 512, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a (girl:1.3) [x]", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": ["8", 0], "clip": ["4", 1]}},
    "8": {"class_type": "PrimitiveString", "inputs": {"value": "bad"}},
    "9": {"class_type": "PrimitiveInt", "inputs": {"value": 77}},
    "10": {"class_type": "ControlNetApplyAdvanced", "inputs": {"positive": ["6", 0], "negative": ["7", 0]}},
}
FLUX = {
    "1": {
        "class_type": "SamplerCustomAdvanced",
        "inputs": {
            "noise": ["2", 0],
            "guider": ["3", 0],
            "sampler": ["4", 0],
            "sigmas": ["5", 0],
            "latent_image": ["6", 0],
        },
    },
    "2": {"class_type": "RandomNoise", "inputs": {"noise_seed": 2**64 - 1}},
    "3": {"class_type": "BasicGuider", "inputs": {"conditioning": ["7", 0]}},
    "4": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
    "5": {"class_type": "BasicScheduler", "inputs": {"scheduler": "simple", "steps": 4}},
    "6": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "7": {"class_type": "FluxGuidance", "inputs": {"guidance": 3.5, "conditioning": ["8", 0]}},
    "8": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat"}},
}
WORKFLOW = {
    "nodes": [
        {
            "id": 3,
            "type": "KSampler",
            "inputs": [{"name": name, "link": link} for name, link in (("positive", 1), ("latent_image", 2))],
            "widgets_values": [5, "randomize", 20, 8, "euler", "normal", 1],
        },
        {"id": 6, "type": "CLIPTextEncode", "inputs": [], "widgets_values": ["a house"]},
        {"id": 5, "type": "EmptyLatentImage", "widgets_values": [64, 32, 1]},
    ],
    "links": [[1, 6, 0, 3, 1, "CONDITIONING"], [2, 5, 0, 3, 3, "LATENT"]],
}
INVOKE = {
    "generation_mode": "sdxl_txt2img",
    "positive_prompt": "a house",
    "negative_prompt": "",
    "width": 64,
    "height": 64,
    "seed": 3,
    "cfg_scale": 7.5,
    "steps": 30,
    "scheduler": "dpmpp_2m_sde_k",
    "model": {"name": "Juggernaut"},
    "loras": [{"weight": 0.5}],
}
SWARM = {
    "sui_image_params": {
        "prompt": "a boat",
        "negativeprompt": "no",
        "model": "m",
        "seed": 9,
        "steps": 20,
        "cfgscale": 1.0,
        "width": 64,
        "height": 64,
        "sampler": "euler",
        "scheduler": "normal",
        "loras": ["a"],
    }
}


def with_inputs(node: dict[str, Any], **inputs: Any) -> dict[str, Any]:
    return {**node, "inputs": {**node["inputs"], **inputs}}


def png(path: Path, **texts: Any) -> str:
    info = PngInfo()
    for name, value in texts.items():
        info.add_text(name, value if isinstance(value, str) else json.dumps(value))
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return str(path)


def made(file: str) -> dict[str, Any]:
    """The settings of a file's one row, and its extra columns that say something."""
    dataset = open_as(file, IMAGES)
    [row], [others] = rows(dataset), extras(dataset)
    return {"prompt": row.prompt, **dict(row.overrides), **{name: value for name, value in others.items() if value}}


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (
            {"parameters": A1111},
            {
                "prompt": "a (cat:1.2)\nsecond line", "negative_prompt": "[ugly]", "num_inference_steps": 20,
                "scheduler": "dpmpp_2m_karras", "guidance_scale": 7.5, "seed": 5, "width": 512, "height": 768,
                "clip_skip": 1, "prompt_syntax": "a1111", "made_by": "a1111", "made_with": "mine", "not_read": "ENSD",
            },
        ),
        (
            {"prompt": GRAPH, "workflow": {}},
            {
                "prompt": r"a (girl:1.3) \[x\]", "negative_prompt": "bad", "num_inference_steps": 20, "seed": 77,
                "scheduler": "dpmpp_2m_karras", "guidance_scale": 8.0, "width": 1024, "height": 512,
                "prompt_syntax": "a1111", "made_by": "comfyui", "made_with": "sdxl.safetensors",
                "not_read": "ControlNetApplyAdvanced",
            },
        ),
        (
            {"prompt": FLUX},
            {
                "prompt": "a cat", "num_inference_steps": 4, "scheduler": "flow_euler", "guidance_scale": 3.5,
                "width": 64, "height": 64, "made_by": "comfyui", "not_read": "seed",
            },
        ),
        (
            {"workflow": WORKFLOW},
            {
                "prompt": "a house", "seed": 5, "num_inference_steps": 20, "guidance_scale": 8.0, "scheduler": "euler",
                "width": 64, "height": 32, "made_by": "comfyui",
            },
        ),
        (
            {"invokeai_metadata": INVOKE},
            {
                "prompt": "a house", "negative_prompt": "", "seed": 3, "num_inference_steps": 30, "guidance_scale": 7.5,
                "scheduler": "dpmpp_2m_sde_karras", "width": 64, "height": 64, "made_by": "invokeai",
                "made_with": "Juggernaut", "not_read": "loras",
            },
        ),
        (
            {"parameters": SWARM},
            {
                "prompt": "a boat", "negative_prompt": "no", "seed": 9, "num_inference_steps": 20,
                "guidance_scale": 1.0, "scheduler": "euler", "width": 64, "height": 64, "made_by": "swarmui",
                "made_with": "m",
                "not_read": "loras",
            },
        ),
    ],
    ids=["a1111", "comfyui", "comfyui of flux", "comfyui's interface", "invokeai", "swarmui"],
)  # fmt: skip
def test_what_a_tool_writes_is_a_row(tmp_path: Path, texts: dict[str, Any], expected: dict[str, Any]) -> None:
    assert made(png(tmp_path / "a.png", **texts)) == expected


@pytest.mark.parametrize(
    ("texts", "not_read"),
    [
        ({"parameters": f"{A1111}, Denoising strength: 0.7, First pass size: 0x0"}, "First pass size"),
        ({"prompt": {**GRAPH, "3": with_inputs(GRAPH["3"], denoise=0.5)}}, "denoise"),
        ({"prompt": {**FLUX, "5": with_inputs(FLUX["5"], denoise=0.5)}}, "denoise"),
        ({"prompt": {**FLUX, "8": with_inputs(FLUX["8"], clip_l="another")}}, "clip_l"),
    ],
)
def test_what_shaped_a_picture_besides_is_named(tmp_path: Path, texts: dict[str, Any], not_read: str) -> None:
    assert not_read in made(png(tmp_path / "a.png", **texts))["not_read"].split(", ")


@pytest.mark.parametrize("given", ["CFG scale: nan", "CFG scale: 7_5"])
def test_a_number_that_is_none_is_no_empty_cell(tmp_path: Path, given: str) -> None:
    png(tmp_path / "a.png", parameters=re.sub(r"CFG scale: [\d.]+", given, A1111))
    with pytest.raises(DarkroomError, match="column 'guidance_scale' has 1"):
        open_as(str(tmp_path), IMAGES).scan(1)


def test_files_of_other_formats_say_the_same(tmp_path: Path) -> None:
    exif, graph = Image.Exif(), Image.Exif()
    comment = b"UNICODE\0" + A1111.replace("cat", "猫").encode("utf-16-be")
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    graph[ExifTags.Base.Model] = f"prompt:{json.dumps(FLUX)}"
    pixels = Image.new("RGB", (8, 8))
    pixels.save(tmp_path / "a.jpg", exif=exif.tobytes())
    pixels.save(tmp_path / "b.webp", exif=exif.tobytes())
    pixels.save(tmp_path / "c.webp", exif=graph.tobytes())
    write(tmp_path / "d.json", json.dumps(FLUX))
    dataset = open_as(str(tmp_path), IMAGES)
    assert [row.prompt for row in rows(dataset)] == [*["a (猫:1.2)\nsecond line"] * 2, "a cat"]
    assert "d.json" in dataset.scan(1).warnings[0]
    assert made(str(tmp_path / "d.json"))["prompt"] == "a cat"


def test_texts_after_the_pixels_are_read_and_large_ones_too(tmp_path: Path) -> None:
    large = {"parameters": A1111.replace("second line", "x" * 600_000)}
    assert len(made(png(tmp_path / "large.png", **large))["prompt"]) > 600_000
    data = Path(png(tmp_path / "a.png", parameters=A1111)).read_bytes()
    start, stop = data.index(b"tEXt") - 4, data.index(b"IDAT") - 4
    end = data.index(b"IEND") - 4
    late = data[:start] + data[stop:end] + data[start:stop] + data[end:]
    assert made(write(tmp_path / "late.png", late))["seed"] == 5


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({}, "says nothing of how it was made"),
        ({"parameters": f"{A1111}, Denoising strength: 0.4"}, "made of another image"),
        ({"prompt": {name: node for name, node in GRAPH.items() if name != "5"}}, "begins with another image"),
        ({"prompt": {"1": {"class_type": "SaveImage", "inputs": {}}}}, "has none of KSampler"),
        ({"prompt": {**FLUX, "8": {"class_type": "ConditioningCombine", "inputs": {}}}}, "joined of several"),
        ({"prompt": {**FLUX, "8": {"class_type": "Magic", "inputs": {}}}}, "made by Magic"),
        ({"workflow": {"nodes": [{"type": "KSampler"}]}}, "a form that is not known"),
        ({"invokeai_metadata": {**INVOKE, "generation_mode": "\ud800"}}, r"made by \? of another image"),
        ({"invokeai_metadata": {**INVOKE, "generation_mode": "img2img"}}, "made by img2img of another image"),
    ],
)
def test_what_cannot_be_made_again_is_named(tmp_path: Path, texts: dict[str, Any], said: str) -> None:
    png(tmp_path / "a.png", parameters=A1111)
    png(tmp_path / "b.png", **texts)
    write(tmp_path / "c.png", b"\x89PNG broken")
    first = r"2 rows are without settings to repeat, first at row 1 \(b.png\)"
    with pytest.raises(DarkroomError, match=f"{first}: .*{said}"):
        open_as(str(tmp_path), IMAGES).scan(1)
    found = rows(open_as(str(tmp_path), IMAGES, "record"))
    assert [row.prompt_id for row in found] == ["a.png", "b.png", "c.png"]
    assert [bool(row.error) for row in found] == [False, True, True]


def test_columns_say_what_is_read_of_images(tmp_path: Path) -> None:
    dataset = open_as(png(tmp_path / "a.png", parameters=A1111), IMAGES, columns={"seed": None, "scheduler": None})
    [row], [others] = rows(dataset), extras(dataset)
    assert not {"seed", "scheduler"} & dict(row.overrides).keys()
    assert (others["source_seed"], others["source_scheduler"]) == (5, "dpmpp_2m_karras")


def test_what_is_no_folder_of_images_is_refused(tmp_path: Path) -> None:
    for uri in (str(tmp_path), str(tmp_path / "nowhere"), write(tmp_path / "a.csv", "prompt\na")):
        with pytest.raises(DarkroomError, match=r"needed one of \.jpeg"):
            open_as(uri, IMAGES)
