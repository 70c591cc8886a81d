"""Images that are made again from what their files say: the same pixels, wherever the files lie."""

from pathlib import Path

import boto3
import pytest

import darkroom
from darkroom.domain.errors import DarkroomError

EMBEDDED = {"engine": "local", "num_inference_steps": 2, "height": 32, "width": 32}


@pytest.mark.slow
def test_our_own_images_are_made_again_with_the_same_pixels(tmp_path: Path, s3_endpoint: str) -> None:
    rows = [
        {"prompt": "a red circle", "scheduler": "euler_a", "seed": 7, "guidance_scale": 3, "num_images_per_prompt": 2},
        {"prompt": "a blue (big) square", "num_inference_steps": 3, "negative_prompt": "green"},
        {"prompt": "a green triangle", "scheduler": "dpmpp_2m_karras"},
    ]
    first = darkroom.generate(rows, out=tmp_path / "first", **EMBEDDED)
    client = boto3.client("s3", endpoint_url=s3_endpoint)
    for path in (tmp_path / "first" / "images").rglob("*.png"):
        client.upload_file(str(path), "bucket", f"again/{path.name}")
    prompts = darkroom.from_files("s3://bucket/again", "images", prompts_endpoint_url=s3_endpoint)
    second = darkroom.generate(prompts, out=tmp_path / "second", engine="local")
    made, again = (sorted(run.records["pixels_sha256"]) for run in (first, second))
    assert len(set(made)) == 4
    assert made == again
    assert set(second.records["scheduler"]) == {"euler_a", "default", "dpmpp_2m_karras"}
    with pytest.raises(DarkroomError, match="no such"):
        darkroom.from_files("s3://bucket/nothing", "images", prompts_endpoint_url=s3_endpoint)
