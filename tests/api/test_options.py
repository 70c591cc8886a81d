"""Options are checked where they are made, and settings are known by their names."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import darkroom
from darkroom.api.arguments import engine_options, evaluation_options, model_ref, options_of
from darkroom.api.evaluation_options import ComparisonOptions, EvaluationOptions, HalvingOptions
from darkroom.api.models import find_model
from darkroom.api.options import EngineOptions, ModelPlace
from darkroom.api.output_options import OutputOptions
from darkroom.conf.groups import EngineConfig, EvaluationConfig, HalvingConfig, OutputConfig
from darkroom.conf.schema import CompareConfig, ModelPlaceConfig
from darkroom.domain.errors import DarkroomError
from darkroom.domain.setting_values import sampling_defaults, with_settings
from darkroom.domain.settings import ModelRef
from darkroom.jobs.overrides import composed
from darkroom.jobs.values import request
from darkroom.runs.commands import presets


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: OutputOptions(layout="zip"), "output.layout=zip: no such choice; choices are files, webdataset"),
        (lambda: OutputOptions(uri="s3://key:secret@bucket/x"), "output.uri: credentials"),
        (lambda: EngineOptions(kind="cloud"), "engine.kind=cloud"),
        (lambda: EngineOptions(batch_size=0), "engine.batch_size=0 is out of range"),
        (
            lambda: EngineOptions(batch_size="best"),
            "engine.batch_size='best': give a whole number from 1 to 4096, or auto",
        ),
        (lambda: EngineOptions(batch_size="4"), "engine.batch_size='4': give a whole number"),
        (lambda: EvaluationOptions(metrics="clip_score"), r"metrics='clip_score': give a list"),
        (lambda: HalvingOptions("a.b", num_images=1), "halving.num_images=1 is out of range"),
        (lambda: engine_options("rays"), "engine.kind=rays"),
        (lambda: evaluation_options({"metric": ["x"]}), "evaluate: no option 'metric'; did you mean metrics?"),
        (lambda: options_of(HalvingOptions, {"figur": "a.b"}, "halving"), "did you mean figure?"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(DarkroomError, match=words):
        make()


def test_settings_of_model_and_sampling_are_given_by_their_names() -> None:
    given = {"guidance_scale": np.float32(4), "num_inference_steps": np.int64(7), "dtype": "bfloat16", "width": 64}
    asked = {**sampling_defaults(), "seed": 3}
    ref, sampling = with_settings(ModelRef("m"), asked, given)
    assert ref == ModelRef("m", dtype="bfloat16")
    assert sampling == {**asked, "guidance_scale": 4.0, "num_inference_steps": 7, "width": 64}
    assert type(sampling["num_inference_steps"]) is int
    assert with_settings(ref, sampling, {"guidance_scale": None})[1]["guidance_scale"] is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"guidance": 3}, "no setting 'guidance'; did you mean guidance_scale?"),
        ({"dtype": "float64"}, "model.dtype=float64: no such choice"),
        ({"negative_prompt": None}, "sampling.negative_prompt=null: give a text"),
        ({"guidance_scale": -1}, r"sampling\.guidance_scale=-1\.0 is out of range; give from 0 to 1000"),
        ({"guidance_scale": float("nan")}, "guidance_scale=nan is out of range"),
        ({"height": 63}, r"sampling\.height=63 is out of range; give a multiple of 8"),
        ({"height": "64"}, "height='64': give a whole number"),
        ({"num_inference_steps": 2.5}, r"num_inference_steps=2\.5: give a whole number"),
        ({"num_inference_steps": True}, "sampling.num_inference_steps=true: give a whole number"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest_name(settings: dict, words: str) -> None:
    with pytest.raises(DarkroomError, match=words):
        with_settings(ModelRef("m"), sampling_defaults(), settings)


NEEDED: dict[str, dict[str, Any]] = {  # beside the name
    "plugin": {"make": "tests.rendering.own_renderers:make"},
    "openai_images": {"repo_id": "tiny", "options": {"base_url": "http://127.0.0.1:1/v1"}},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", presets())
def test_a_model_has_one_meaning_on_the_command_line_and_in_python(name: str) -> None:
    given = NEEDED.get(name, {})
    words = {**given, **{f"options.{key}": value for key, value in given.get("options", {}).items()}}
    words.pop("options", None)
    there = request(composed("generate", [f"model={name}", *(f"model.{key}={each}" for key, each in words.items())]))
    here, _ = with_settings(model_ref(name), sampling_defaults(), given)
    if here.make:
        assert find_model(there.model, "cpu").identity == find_model(here, "cpu").identity
    else:
        assert there.model == here


@pytest.mark.parametrize(
    ("options", "schema"),
    [
        (OutputOptions(), OutputConfig),
        (EngineOptions(kind="ray"), EngineConfig),
        (EvaluationOptions(), EvaluationConfig),
        (HalvingOptions("a.b"), HalvingConfig),
        (ComparisonOptions(), CompareConfig),
        (ModelPlace(), ModelPlaceConfig),
    ],
)
def test_defaults_and_ranges_are_those_of_the_command_line(options: Any, schema: Any) -> None:
    declared = {each.name: each for each in fields(schema)}
    for each in fields(options):
        theirs = declared[each.name]
        if is_dataclass(getattr(options, each.name)):
            test_defaults_and_ranges_are_those_of_the_command_line(getattr(options, each.name), theirs.default_factory)
            continue
        if each.name not in ("figure", "kind", "extractors", "expect"):  # chosen above, or lists made anew
            assert getattr(options, each.name) == getattr(theirs.default, "value", theirs.default), each.name
        if each.name != "batch_size":  # a number or a word
            limits = [(kind.get("low"), kind.get("high")) for kind in (each.metadata, theirs.metadata)]
            assert limits[0] == limits[1], each.name


@pytest.mark.parametrize("uri", [None, "here", "/there", "file:///there"])
def test_an_endpoint_is_refused_where_images_go_to_a_folder(uri: str | None) -> None:
    with pytest.raises(DarkroomError, match=r"output.endpoint_url is for an object store, .* leave it out"):
        OutputOptions(uri, endpoint_url="http://127.0.0.1:1")
    assert OutputOptions("s3://bucket/run", endpoint_url="http://127.0.0.1:1").endpoint_url


def test_the_quality_of_an_encoder_that_has_none_is_refused() -> None:
    with pytest.raises(DarkroomError, match=r"output.quality=50 is of webp and jpeg, and output.image_format is png"):
        OutputOptions(quality=50)
    assert OutputOptions(image_format="webp", quality=50).quality == 50


def test_what_is_of_ray_alone_is_refused_without_ray() -> None:
    for given in ({"num_gpus": 0.5}, {"resources": {"disk": 1}}, {"accelerator_type": "A100"}, {"address": "auto"}):
        with pytest.raises(DarkroomError, match=f"engine.{next(iter(given))}=.*engine=local is one worker"):
            EngineOptions(kind="local", **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_gpus": 1.5}, "num_gpus=1.5: more than one is a whole number; give 2"),
        ({"resources": {"GPU": 1}}, "GPU is not one of a cluster's own resources; use engine.num_gpus"),
        ({"resources": {"disk": "much"}}, "disk=much; give an amount above 0"),
        ({"part": "0/4"}, "part=0/4: no part of a run"),
        ({"part": "5/4"}, "part=5/4: no part of a run"),
        ({"part": "half"}, "part=half: no part of a run"),
    ],
)
def test_resources_and_parts_that_cannot_be_are_refused(given: dict, message: str) -> None:
    with pytest.raises(DarkroomError, match=message):
        EngineOptions(kind="ray", **given)


def test_the_environment_names_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert EngineOptions(kind="ray").cluster_address == "10.0.0.1:6379"
    assert EngineOptions(kind="ray", address="other:1").cluster_address == "other:1"
    assert EngineOptions(kind="local").cluster_address is None
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert EngineOptions(kind="ray").cluster_address is None


def test_the_address_of_a_client_or_a_dashboard_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://head:8265")
    for address, said in (
        ("ray://head:10001", "engine.address=ray://head:10001"),
        (None, "RAY_ADDRESS=http://head:8265"),
    ):
        engine = EngineOptions(kind="ray", address=address)
        with pytest.raises(DarkroomError, match=f"^{said}: workers are not reached by a client or a dashboard; give"):
            darkroom.generate(["a"], model="paint", out=tmp_path / "run", engine=engine)
    assert not (tmp_path / "run").exists()
    assert EngineOptions(kind="ray", address="local").cluster_address is None
