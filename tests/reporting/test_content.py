from dataclasses import replace

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.reporting.content import Axis, Picks, ReportContent, check
from tests.reporting.contents import plain_run, sweep

RUN = plain_run()
PICTURE = RUN.pictures[0]


@pytest.mark.slow
def test_good_content_passes() -> None:
    check(sweep(num_scores=2))
    for href in ("../images/a.png", "https://bucket.example/a%20b.png?x=1", "images/a.png"):
        check(replace(RUN, pictures=(replace(PICTURE, image_href=href),)))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (replace(RUN, cells=RUN.cells * 2), "cell_id 'c0ffee0123456789' is there twice"),
        (replace(RUN, pictures=(PICTURE, PICTURE)), "image_id"),
        (replace(RUN, pictures=(replace(PICTURE, image_id="../../etc"),)), "cannot name a file"),
        (replace(RUN, pictures=(replace(PICTURE, cell_id="other"),)), "picture's cell_id 'other'"),
        (replace(RUN, picks=Picks(best=("gone",))), "picks' image_id 'gone'"),
        (replace(RUN, scores={"other": [1.0]}), "scores' cell_id 'other'"),
        (replace(RUN, score_metric="clip"), "score_metric 'clip'"),
        (replace(RUN, axes=(Axis("eta", (0.0,)),)), "no setting 'eta'"),
        (replace(RUN, axes=(Axis("scheduler", ("ddim",)),)), "scheduler='euler'"),
    ],
)
def test_content_that_does_not_fit_together_is_named(content: ReportContent, named: str) -> None:
    with pytest.raises(DarkroomError) as error:
        check(content)
    assert named in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "href",
    ["javascript:alert(1)", "JaVaScRiPt:1", "java\tscript:1", " javascript:1", "data:text/html,x",
     "file:///etc", "\\\\host\\x", "//[bad"],
)  # fmt: skip
def test_an_address_that_is_no_plain_link_is_refused(href: str) -> None:
    with pytest.raises(DarkroomError, match="image_href"):
        check(replace(RUN, pictures=(replace(PICTURE, image_href=href),)))
