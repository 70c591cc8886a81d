"""What a call raises names its arguments as Python does."""

from pathlib import Path

import pytest

import darkroom
from darkroom.api.annotations import in_python


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("sampling.height=7 is out of range", "height=7 is out of range"),
        ("model.repo_id=a/b: set model.trust_remote_code=true", "model=a/b: set trust_remote_code=True"),
        ("output.uri: /a is a file", "out: /a is a file"),
        ("grid.axes.guidance_scale=[] has no value", "axes['guidance_scale']=[] has no value"),
        ("prompts.columns.prompt=null: a prompt is needed", "columns['prompt']=None: a prompt is needed"),
        ("see `darkroom plan output.uri=x`", "see `darkroom plan output.uri=x`"),
        ("/data/model.dtype/sampling.height is no file", "/data/model.dtype/sampling.height is no file"),
        ("engine.batch_size=0 is out of range", "engine.batch_size=0 is out of range"),
    ],
)
def test_keys_become_arguments(said: str, wanted: str) -> None:
    assert in_python(said) == wanted


def test_errors_of_calls_name_arguments(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(darkroom.DarkroomError, match=r"^out: .*/file is a file"):
        darkroom.generate(["a"], model="paint", out=tmp_path / "file")
    with pytest.raises(darkroom.DarkroomError, match=r"^height=7 is out of range"):
        darkroom.generate(["a"], model="paint", height=7)
    with pytest.raises(darkroom.DarkroomError, match=r"^mode=random needs num_prompts"):
        darkroom.template("a {x}", {"x": ["b"]}, mode="random")
