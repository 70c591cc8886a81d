"""Options are checked where they are made, and settings are known by their names."""

from collections.abc import Callable

import numpy as np
import pytest

from darkroom.api.calls import engine_options, evaluation_options, made, model_ref
from darkroom.api.checking import PRESETS
from darkroom.api.options import (
    EngineOptions,
    EvaluationOptions,
    HalvingOptions,
    OutputOptions,
    SamplingOptions,
    with_settings,
)
from darkroom.domain.cells import ModelRef
from darkroom.domain.errors import DarkroomError
from darkroom.jobs.overrides import composed


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SamplingOptions(guidance_scale=-1), "sampling.guidance_scale=-1.0 is out of range"),
        (lambda: SamplingOptions(guidance_scale=float("nan")), "guidance_scale=nan is out of range"),
        (lambda: SamplingOptions(num_inference_steps=2.5), "num_inference_steps=2.5: give a whole number"),
        (lambda: SamplingOptions(num_inference_steps=True), "num_inference_steps=True: give a whole number"),
        (lambda: SamplingOptions(height="64"), "height='64': give a whole number"),
        (lambda: OutputOptions(layout="zip"), "output.layout=zip: no such choice; choices are files, webdataset"),
        (lambda: OutputOptions(uri="s3://key:secret@bucket/x"), "output.uri: credentials"),
        (lambda: EngineOptions(kind="cloud"), "engine.kind=cloud"),
        (lambda: EngineOptions(batch_size=0), "engine.batch_size=0 is out of range"),
        (lambda: EngineOptions(batch_size="best"), "engine.batch_size=best is out of range"),
        (lambda: EvaluationOptions(metrics="clip_score"), r"metrics='clip_score': give a list"),
        (lambda: HalvingOptions("a.b", num_images=1), "halving.num_images=1 is out of range"),
        (lambda: engine_options("rays"), "engine.kind=rays"),
        (lambda: evaluation_options({"metric": ["x"]}), "evaluate: no option 'metric'; did you mean metrics?"),
        (lambda: made(HalvingOptions, {"figur": "a.b"}, "halving"), "did you mean figure?"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(DarkroomError, match=words):
        make()


def test_settings_of_model_and_sampling_are_given_by_their_names() -> None:
    given = {"guidance_scale": np.float32(4), "num_inference_steps": np.int64(7), "dtype": "bfloat16", "width": 64}
    ref, sampling = with_settings(ModelRef("m"), SamplingOptions(seed=3), given)
    assert ref == ModelRef("m", dtype="bfloat16")
    assert sampling == SamplingOptions(seed=3, guidance_scale=4.0, num_inference_steps=7, width=64)
    assert type(sampling.num_inference_steps) is int


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"guidance": 3}, "no setting 'guidance'; did you mean guidance_scale?"),
        ({"dtype": "float64"}, "model.dtype=float64: no such choice"),
        ({"scheduler": None}, "scheduler=None: give a text"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest_name(settings: dict, words: str) -> None:
    with pytest.raises(DarkroomError, match=words):
        with_settings(ModelRef("m"), SamplingOptions(), settings)


@pytest.mark.parametrize("name", PRESETS)
def test_a_model_has_one_meaning_on_the_command_line_and_in_python(name: str) -> None:
    config = composed("generate", [f"model={name}"]).model
    assert model_ref(name) == ModelRef(
        config.repo_id, config.revision, config.dtype.value, config.variant, config.trust_remote_code
    )


@pytest.mark.parametrize("options", [SamplingOptions(), OutputOptions(), EngineOptions(kind="ray")])
def test_defaults_are_those_of_the_command_line(options: object) -> None:
    section = {"SamplingOptions": "sampling", "OutputOptions": "output", "EngineOptions": "engine"}
    config = composed("generate", [])[section[type(options).__name__]]
    for name, value in vars(options).items():
        assert getattr(config[name], "value", config[name]) == value, name
