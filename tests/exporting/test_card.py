"""The dataset card's parts that stand alone."""

import pytest

from darkroom.exporting.card import without_folders
from darkroom.exporting.card_header import size_category


@pytest.mark.parametrize(
    ("count", "said"),
    [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (2 * 10**9, "n>1B")],
)
def test_sizes_are_named_as_the_hub_does(count: int, said: str) -> None:
    assert size_category(count) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prompts.uri=/home/ann/my/p.csv output.uri=runs/x", "prompts.uri=p.csv output.uri=runs/x"),
        ("'model.loras=[{path:/a/b/c.safetensors},\"/d e/f g\"]'", "'model.loras=[{path:c.safetensors},\"f g\"]'"),
        ("'prompts.uri=/home/ann/my own/p q.csv' a=b", "'prompts.uri=p q.csv' a=b"),
        (
            "generate(prompts, loras=[{'path': '/a b/c.safetensors'}])",
            "generate(prompts, loras=[{'path': 'c.safetensors'}])",
        ),
        ("prompts.uri=file:///a/p.csv a=https://host/v1/x", "prompts.uri=p.csv a=https://host/v1/x"),
        (
            "'sampling.negative_prompt=blurry, w/o hands, and /r/art'",
            "'sampling.negative_prompt=blurry, w/o hands, and /r/art'",
        ),
        ("/home/ann/my own/p q.csv", "p q.csv"),
        ("prompts.uri=s3://bucket/a/p.csv repo_id=a/b", "prompts.uri=s3://bucket/a/p.csv repo_id=a/b"),
        ("model.repo_id=~/models/sd15 a/b=1", "model.repo_id=sd15 a/b=1"),
    ],
)
def test_no_folder_of_the_machine_is_named(text: str, said: str) -> None:
    assert without_folders(text) == said
