import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.breakdowns import NO_VALUE, breakdown_table, broken_down, group_names, group_text
from darkroom.evaluation.gathering import gathered
from darkroom.evaluation.measuring import metric_infos
from tests.evaluation.sets import CLIP, cell


def test_each_group_has_the_figures_of_its_own_images() -> None:
    whole = cell(200)  # of prompts p0 to p99, two images each
    texts = {f"p{number}": group_text(None if number < 20 else f"group {number % 2}") for number in range(100)}
    called = group_names(set(texts.values()), "kind")
    names = {prompt_id: called[text] for prompt_id, text in texts.items()}
    found = broken_down(gathered([whole]), names, CLIP, ["clip_score", "vendi"], "x100", 0)
    assert list(found) == [NO_VALUE, "group 0", "group 1"]
    assert {name for figures in found.values() for name in figures} == {"demo_clip.clip_score"}
    cosines = whole.images.cosines.astype(np.float64)
    odd = [row for row, (prompt_id, _) in enumerate(whole.pairs) if names[prompt_id] == "group 1"]
    figure = found["group 1"]["demo_clip.clip_score"]
    assert figure.value == pytest.approx(100 * cosines[odd].mean())
    assert figure.num_images == 80
    assert figure.low < figure.value < figure.high
    metrics = metric_infos(CLIP, None, ["clip_score", "vendi"], "x100")
    settings = {"a": {"sampling.width": 16}, "b": {"sampling.width": 24}}
    table = breakdown_table(
        "kind", {name: dict.fromkeys("ab", figures) for name, figures in found.items()}, metrics, settings, 80
    )
    lines = table.splitlines()
    assert lines[0] == "by kind, with intervals and the number of images:"
    assert lines[2].split() == ["kind", "width", "demo_clip.clip_score", "↑"]
    assert lines[6].startswith(f"group 0  24     {found['group 0']['demo_clip.clip_score'].value:.2f} [")
    assert lines[6].endswith("(80)")


def test_a_column_of_too_many_values_is_refused() -> None:
    with pytest.raises(
        DarkroomError, match="by=id: it has more than 64 values, the most that figures are by; name a column of fewer"
    ):
        group_names({str(number) for number in range(65)}, "id")


def test_long_values_that_begin_alike_stay_apart() -> None:
    words = "a photograph of one of the following things: "
    names = group_names({f"{words}cats", f"{words}dogs", "short"}, "kind")
    assert (names[f"{words}cats"], names[f"{words}dogs"]) == (f"{words[:39]}…", f"{words[:39]}… (2)")
    with pytest.raises(DarkroomError, match="it has more than 64 values"):
        group_names({f"{words}{number}" for number in range(65)}, "id")
