"""A language model on this machine: a tiny one of a real architecture."""

import random
from pathlib import Path

import pytest
import torch

from darkroom.domain.errors import DarkroomError, WrongModel
from darkroom.rewriting.language_model import LanguageModel, LanguageModelSpec
from darkroom.rewriting.questions import OK, TOO_LONG, Answer, Decoding, Question, Wording, questions
from tests.rewriting.tiny_language_model import WORDS, make


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("model"))


def unopened(folder: Path, batch_size: int = 4, temperature: float = 1.0) -> LanguageModel:
    decoding = Decoding(temperature, 0.95, 40)
    return LanguageModel(LanguageModelSpec(str(folder), None, "auto", "cpu", batch_size, False, "Say more.", decoding))


def opened(folder: Path, batch_size: int = 4, temperature: float = 1.0) -> LanguageModel:
    found = unopened(folder, batch_size, temperature)
    found.open()
    return found


def answers(model: LanguageModel, asked: list[Question]) -> dict[str, Answer]:
    return {question.rewrite_id: answer for question, answer in model.answers(asked)}


def test_an_answer_does_not_depend_on_its_neighbours(folder: Path) -> None:
    """Nor on torch's own state, the order, and how many are asked at once; prompts of one token to several paddings."""
    model, rng = opened(folder), random.Random(3)
    prompts = [" ".join(rng.choices(WORDS, k=count)) for count in (1, 1, 3, 9, 60, 61, 130)]
    asked = [each for prompt in prompts for each in questions(prompt, Wording(num_rewrites=2), model.identity)]
    found = answers(model, asked)
    torch.manual_seed(1)
    assert answers(model, rng.sample(asked, len(asked))) == found
    assert [answers(model, [each]) for each in asked] == [{each.rewrite_id: found[each.rewrite_id]} for each in asked]
    assert len({answer.text for answer in found.values() if answer.status == OK}) > 5


def test_seeds_are_drawn_from_and_temperature_0_needs_none(folder: Path) -> None:
    model = opened(folder)
    asked = questions("a red dog", Wording(num_rewrites=6), model.identity)
    assert len({answer.text for answer in answers(model, asked).values()}) > 2
    assert len({answer.text for answer in answers(opened(folder, temperature=0), asked).values()}) == 1


def test_what_does_not_fit_is_told(folder: Path) -> None:
    model = opened(folder)
    long = questions("cat " * 600, Wording(), model.identity)
    [(_, answer)] = model.answers(long)
    assert answer == Answer(TOO_LONG, error="605 tokens and max_new_tokens are more than the 512 of the model")


def test_a_model_without_a_template_is_asked_in_plain_words(tmp_path: Path) -> None:
    model = opened(make(tmp_path / "plain", template=None), temperature=0)
    assert "has no chat template" in model.notes[0]
    assert [answer.status for _, answer in model.answers(questions("a cat", Wording(), model.identity))] == [OK]


def test_a_template_that_takes_no_system_message_gets_it_with_the_prompt(tmp_path: Path) -> None:
    user = "{{ '<user> ' + messages[0]['content'] + ' <assistant>' }}"
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + user
    model = opened(make(tmp_path / "strict", template=strict))
    found = answers(model, questions("a cat", Wording(num_rewrites=4), model.identity))
    assert OK in {answer.status for answer in found.values()}
    with pytest.raises(DarkroomError, match="its chat template takes no user's message \\(never\\)"):
        opened(make(tmp_path / "closed", template="{{ raise_exception('never') }}"))


def test_its_files_name_it_and_are_proved(tmp_path: Path, folder: Path) -> None:
    copy = make(tmp_path / "copy")
    model = unopened(copy)
    assert model.identity == unopened(folder).identity
    (copy / "config.json").write_text((copy / "config.json").read_text().replace("0.3", "0.2"))
    assert unopened(copy).identity != model.identity
    with pytest.raises(WrongModel, match=r"rewrite\.model=.*config\.json"):
        model.open()


def test_what_cannot_be_loaded_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(DarkroomError, match=r"rewrite\.model=/nowhere/x: no such folder; give a folder that is there"):
        unopened(Path("/nowhere/x"))
    with pytest.raises(DarkroomError, match=r"no config\.json there"):
        unopened(tmp_path)
    copy = make(tmp_path / "copy")
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(DarkroomError, match=r"no \*.safetensors there; convert pickles"):
        unopened(copy)
    odd = make(tmp_path / "odd")
    (odd / "config.json").write_text('{"model_type": "vit", "architectures": ["ViTModel"]}')
    with pytest.raises(DarkroomError, match="cannot load it as a causal language model"):
        unopened(odd).open()
    config = (folder / "config.json").read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3')
    lacking = make(tmp_path / "lacking")
    (lacking / "config.json").write_text(config)
    with pytest.raises(DarkroomError, match=r"its weights lack 9 tensors that its config\.json asks for"):
        unopened(lacking).open()
