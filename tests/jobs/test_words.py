"""Configurations, and the words that say the same without the user's files."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from darkroom.jobs.arguments import arguments
from darkroom.jobs.overrides import composed
from darkroom.jobs.words import plain_words


def words(job: str, *given: str) -> list[str]:
    """Checked to compose the same."""
    found, again = plain_words(arguments(job, given))
    one, other = (OmegaConf.to_container(each, resolve=True) for each in (again, composed(job, given)))
    assert one == other
    return found


def test_what_is_the_default_is_not_said() -> None:
    assert words("generate") == []
    assert words("generate", "sampling.seed=0", "engine=ray", "log=auto") == []


def test_order_and_quotes_do_not_matter() -> None:
    one = words("sweep", "model=sdxl", "grid.axes.guidance_scale=[1,4]", "sampling.seed=7", "output.uri='s3://b/p'")
    other = words("sweep", "output.uri=s3://b/p", "sampling.seed=7", "grid.axes.guidance_scale=[1, 4.0]", "model=sdxl")
    assert sorted(one) == ["grid.axes.guidance_scale=[1,4]", "model=sdxl", "output.uri=s3://b/p", "sampling.seed=7"]
    assert one == other


@pytest.mark.slow
@pytest.mark.parametrize(
    "given",
    [
        (
            "prompts=template",
            "prompts.pattern=a ${x} 'b' \"c\" {colour}",
            "prompts.slots={colour: ['dark red', blue, '1']}",
        ),
        ("sampling.negative_prompt=a, b", "sampling.guidance_scale=null", "output.endpoint_url=null", "engine=local"),
        ("sampling.negative_prompt='null'",),
        ("model.loras=[{path: someone/ink, weight: 0.5}, someone/oil]", "sampling.lora=ink+oil"),
        (
            "evaluate=inline",
            "evaluation.expect=[{figure: demo_clip.clip_score, lowest: 0.8}]",
            "evaluation.reference=demo",
        ),
        ("model=openai_images", "model.repo_id=x", "model.options.base_url=http://server:8000/v1"),
        ("engine.batch_size=auto", "engine.resources={a: 1}"),
        ("preset=mlperf-sdxl", "prompts.uri=s3://b/p.tsv", "evaluation.reference=s3://b/val.npz", "sampling.seed=3"),
        ("preset=mlperf-sdxl", "model=sd15", "prompts.uri=s3://b/p.tsv", "evaluation.reference=s3://b/val.npz"),
        ("prompts=file", "prompts.uri=s3://b/p.tsv", "prompts.columns.height=null", "prompts.columns.prompt=a b"),
    ],
    ids=lambda given: given[0],
)
def test_any_value_is_said(given: tuple[str, ...]) -> None:
    assert words("generate", *given)


@pytest.mark.slow
def test_files_are_no_longer_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text(
        "model: sdxl\nsampling: {seed: 7}\noutput: {uri: 's3://b/seed-${sampling.seed}'}\n"
        "prompts: {kind: file, uri: ~/x}\n"
    )
    found = words("generate", f"--config={tmp_path / 'mine.yaml'}", "sampling.seed=8")
    assert set(found) == {
        "model=sdxl",
        "prompts=file",
        "sampling.seed=8",
        "output.uri=s3://b/seed-8",
        f"prompts.uri={tmp_path}/x",
    }


@pytest.mark.slow
def test_a_group_of_the_users_is_said_by_keys_of_ours(tmp_path: Path) -> None:
    for name, text in {
        "experiment/mine.yaml": "# @package _global_\ndefaults:\n  - override /model: sdxl\nsampling: {seed: 7}\n",
        "model/tuned.yaml": "defaults: [schema, _self_]\nrepo_id: someone/tuned\n",
        "model/server.yaml": "defaults: [openai_images_schema, _self_]\nrepo_id: x\n"
        "make: darkroom.rendering.openai_images:make\noptions: {base_url: 'http://server/v1'}\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    folder = f"--config-dir={tmp_path}"
    assert words("generate", folder, "+experiment=mine") == ["model=sdxl", "sampling.seed=7"]
    assert "model.repo_id=someone/tuned" in words("generate", folder, "model=tuned")
    assert "model=openai_images" in words("generate", folder, "model=server")
