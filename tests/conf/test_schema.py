"""Every key of every job is declared with what people and checks need of it."""

from dataclasses import fields

import pytest

from darkroom.conf.groups import PROMPTS, GridAxes, ModelConfig, PromptColumns, SamplingConfig
from darkroom.conf.keys import keys_of, range_of
from darkroom.conf.schema import JOBS
from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import ROW_SETTINGS, SETTINGS
from darkroom.jobs.overrides import composed

SCHEMAS = {**JOBS, **{f"prompts={name}": schema for name, schema in PROMPTS.items()}}
FREE = {"lowest", "highest"}  # of a figure, in its own unit


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS.keys())
def test_every_key_has_a_sentence_and_every_number_a_range(schema: type) -> None:
    for key in keys_of(schema):
        said = key.field.metadata["help"]
        assert said[0].isupper(), key.name
        assert said.endswith("."), key.name
        allowed = range_of(key.field.metadata)
        assert allowed or key.kind not in (int, float), key.name
        if allowed and isinstance(key.field.default, int | float):
            assert key.field.default in allowed, key.name


def test_settings_are_keys_axes_and_columns_by_the_one_table() -> None:
    names = {field.name for schema in (SamplingConfig, ModelConfig) for field in fields(schema)}
    assert names == set(SETTINGS)
    assert {field.name for field in fields(GridAxes)} == {each.name for each in SETTINGS.values() if each.axis}
    columns = {field.name for field in fields(PromptColumns)}
    assert columns == {"prompt", "prompt_id"} | {each.name for each in ROW_SETTINGS}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "said"),
    [
        (
            "sampling.guidance_scale=1001",
            "sampling.guidance_scale=1001.0 is out of range; give a number from 0 to 1000",
        ),
        ("sampling.height=60", "sampling.height=60 is out of range; give a multiple of 8 from 8 to 16384"),
        ("sampling.guidance_stop=nan", "sampling.guidance_stop=nan is out of range; give a number from 0 to 1"),
        ("sampling.seed=9223372036854775808", "sampling.seed=9223372036854775808 is out of range"),
        (
            "engine.batch_size=5000",
            "engine.batch_size=5000 is out of range; give a whole number from 1 to 4096, or auto",
        ),
        ("engine.batch_size=many", "engine.batch_size=many: give a whole number from 1 to 4096, or auto"),
        ("engine.batch_size=1.5", "engine.batch_size=1.5: give a whole number from 1 to 4096, or auto"),
        ("engine.batch_size=true", "engine.batch_size=true: give a whole number from 1 to 4096, or auto"),
        ("evaluation.seed=-1", "evaluation.seed=-1 is out of range"),
        ("output.quality=inf", "output.quality=inf"),
    ],
)
def test_a_number_out_of_its_range_is_refused(word: str, said: str) -> None:
    with pytest.raises(DarkroomError) as caught:
        composed("generate", [word])
    assert said in str(caught.value)


@pytest.mark.parametrize("word", ["sampling.guidance_scale=null", "sampling.height=null", "sampling.scheduler=null"])
def test_what_the_model_decides_may_be_null(word: str) -> None:
    assert composed("generate", [word]).sampling[word.split(".")[1].split("=")[0]] is None


@pytest.mark.parametrize("word", ["sampling.seed=null", "sampling.num_images_per_prompt=null"])
def test_what_the_model_says_nothing_of_may_not_be_null(word: str) -> None:
    with pytest.raises(DarkroomError, match="give a whole number"):
        composed("generate", [word])
