import json

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from darkroom.reporting.markup import Markup, element, join, json_for_script, markdown
from tests.reporting.contents import HOSTILE


def test_children_and_attributes_are_escaped_unless_they_are_markup() -> None:
    inner = element("b", {"title": '"><script>'}, "<i>", Markup("<hr>"))
    assert inner == '<b title="&quot;&gt;&lt;script&gt;">&lt;i&gt;<hr></b>'
    assert join("<", inner) == f"&lt;{inner}"


@given(st.text())
def test_json_in_a_script_element_says_the_same_and_cannot_end_it(text: str) -> None:
    written = json_for_script({text: [text]})
    assert json.loads(written) == {text: [text]}
    assert not set("<>&\u2028\u2029") & set(written)


def _shown(source: str) -> str:
    """The text that a Markdown reader shows for one cell of a table; anything but text fails."""
    reader = MarkdownIt("gfm-like", {"linkify": False})
    inline = [
        token for token in reader.parse(f"| a | b |\n| --- | --- |\n| {source} | end |") if token.type == "inline"
    ]
    assert [token.content for token in inline[3:]] == ["end"], "the text made table cells of its own"
    children = inline[2].children or []
    assert {child.type for child in children} <= {"text", "text_special"}
    return "".join(child.content for child in children)


_TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs"))) | st.text("`|*_<>[]()\\!#@~&;:/w. a", max_size=20)


@given(_TEXTS | st.sampled_from(HOSTILE))
def test_markdown_shows_any_text_as_it_stands_in_one_table_cell(text: str) -> None:
    shown = _shown(markdown(f"x{text}x")).replace("\u200b", "")
    assert shown == " ".join(f"x{text}x".split()).replace("\u200b", "")


def test_markdown_breaks_mentions_references_and_links() -> None:
    written = markdown("ping @someone see #12 at https://a.example or www.b.example\n## no heading")
    assert "@someone" not in written
    assert "#12" not in written
    assert "://" not in written
    assert "www." not in written
    assert "\n" not in written
