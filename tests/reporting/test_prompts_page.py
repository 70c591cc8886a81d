"""The page of prompts: what was found is there, as text, and it needs nothing beside it."""

from darkroom.prompts.opening import open_prompts
from darkroom.prompts.preflight import EXTRA, Encoder, preflight
from darkroom.reporting.page import prompts_page

EVIL = "<script>alert(1)</script> a red circle"


def page(prompts: list[str], words: list[str], **changed: object) -> str:
    encoder = Encoder("model & co", lambda texts: [len(text.split()) for text in texts], 3)
    said = preflight(open_prompts(prompts, "record", name="list"), [encoder], words, lambda row: row.prompt)
    return prompts_page("my <prompts>.csv", said | changed, EXTRA)


def test_what_was_found_is_there_and_text_stays_text() -> None:
    html = page([EVIL, EVIL, "a cat"], ["circle"])
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; a red circle" in html
    assert "my &lt;prompts&gt;.csv" in html
    assert "model &amp; co" in html
    for said in (
        "than the 3 tokens that are read, whose ends are cut off: 2.",
        "case and spaces: 1.",
        "<b>2 times</b>",
    ):
        assert said in html
    assert "src=" not in html
    assert "href=" not in html


def test_what_was_not_looked_for_is_said() -> None:
    html = page(["a cat"], [], near_repeats=None, languages=None, lengths=[], num_rows=5)
    assert html.count("darkroom[preflight]") == 2
    assert "No list is given" in html
    assert "This page looked at 1 of them" in html
    assert "0 rows" not in page([""], [])
