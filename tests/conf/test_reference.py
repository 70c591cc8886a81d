from darkroom.conf.groups import GROUPS, PROMPTS
from darkroom.conf.keys import keys_of
from darkroom.conf.reference import reference
from darkroom.conf.schema import JOBS
from darkroom.domain.settings import SETTINGS


def test_the_reference_names_every_setting_and_every_key_with_its_help() -> None:
    lines = reference().splitlines()
    for each in SETTINGS.values():
        (line,) = [line for line in lines if each.help in line and f".{each.name}`" in line and line.count(" | ") == 5]
        assert ("axis" in line.split(" | ")[4]) == each.axis
    hidden = tuple(GROUPS.values())
    for schema in (*JOBS.values(), *PROMPTS.values(), *GROUPS.values()):
        for key in keys_of(schema):
            if key.kind not in hidden and not key.is_group and ".axes." not in f".{key.name}":
                last = key.name.rpartition(".")[2]
                assert any(f"{last}`" in line and key.field.metadata["help"] in line for line in lines), key.name


def test_ranges_defaults_and_choices_are_shown() -> None:
    page = reference()
    assert "| `sampling.guidance_scale` | number | `null` | from 0 to 1000 | axis, row |" in page
    assert "| `model.repo_id` | text | must be given |" in page
    assert "| `evaluation.reference` | text, list of texts, or texts by their names | `null` |" in page
    assert "| `engine.batch_size` | whole number or auto | `8` | from 1 to 4096 |" in page
    assert "| `engine.compile` | true or false or auto | `auto` |  |" in page
    assert "| `output.image_format` | png or webp or jpeg | `png` |" in page
    assert "### darkroom plan, darkroom generate" in page
