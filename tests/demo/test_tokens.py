import pytest

from darkroom.demo import world
from darkroom.demo.encoders import MAX_TOKENS, make_tokenizer


def test_every_word_of_the_world_is_one_token() -> None:
    tokenizer = make_tokenizer()
    for scene in world.scenes(0, 200, held_out=False):
        ids = tokenizer(scene.caption()).input_ids
        assert len(ids) == len(scene.caption().replace(",", " ,").split()) + 2 < MAX_TOKENS


@pytest.mark.parametrize("text", ["日本語", "a \U0001f600 b", "\x00\x07", "", "quotes \" ' `", "ÀÉ ß"])
def test_any_text_can_be_read(text: str) -> None:
    tokenizer = make_tokenizer()
    ids = tokenizer(text).input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id
    assert ids.count(tokenizer.eos_token_id) == 1
