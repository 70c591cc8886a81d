import json

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pipeline.report.markup import Markup, element, join, json_for_script, markdown
from tests.report.contents import HOSTILE


def test_children_and_attributes_are_escaped_unless_they_are_markup() -> None:
    inner = element("b", {"title": '"><script>'}, "<i>", Markup("<hr>"))
    assert inner == '<b title="&quot;&gt;&lt;script&gt;">&lt;i&gt;<hr></b>'
    assert join("<", inner) == f"&lt;{inner}"


@given(st.text())
def test_json_in_a_script_element_says_the_same_and_cannot_end_it(text: str) -> None:
    written = json_for_script({text: [text]})
    assert json.loads(written) == {text: [text]}
    assert not set("<>&\u2028\u2029") & set(written)


def _shown(source: str) -> list[tuple[str, str]]:
    """Inline tokens as a Markdown reader sees them; entities count as the text that they stand for."""
    reader = MarkdownIt("gfm-like", {"linkify": False})
    inline = [token for token in reader.parse(f"| a |\n| --- |\n| {source} |") if token.type == "inline"]
    assert len(inline) == 2, "the text made table cells of its own"
    return [(child.type, child.content) for child in inline[1].children or ()]


@given(st.text() | st.sampled_from(HOSTILE) | st.text("`|*_<>[]()\\!#@~&; a\n", max_size=20))
def test_markdown_shows_any_text_as_text_in_one_table_cell(text: str) -> None:
    for kind, _ in _shown("x" + markdown(text)):
        assert kind in ("text", "text_special"), markdown(text)


def test_markdown_breaks_mentions_references_and_links() -> None:
    written = markdown("ping @someone see #12 at https://a.example or www.b.example\n## no heading")
    assert "@someone" not in written
    assert "#12" not in written
    assert "://" not in written
    assert "www." not in written
    assert "\n" not in written
