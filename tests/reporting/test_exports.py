"""The table as CSV and LaTeX, read back."""

import csv
import io

from darkroom.evaluation.figures import Figure, Gap
from darkroom.reporting.content import Axis, CellResult, ReportContent
from darkroom.reporting.exports import csv_table, latex, latex_table
from tests.reporting.contents import metric, plain_run

CELLS = (
    CellResult("a", {"scheduler": "dpm++2m"}, 9, 0, {"fid": Figure(11.0, 10.0, 12.0, 9)}),
    CellResult(
        "b", {"scheduler": "a_b, c"}, 9, 1, {"fid": Figure(11.3, 10.0, 12.5, 9)}, {"fid": Gap("a", 0.3, -0.1, 0.5, 9)}
    ),
    CellResult("c", {"scheduler": "ddim"}, 9, 0, {"fid": Figure(1 / 3 + 20, None, None, 9)}),
)  # fmt: skip
AXIS = Axis("scheduler", ("a_b, c", "ddim", "dpm++2m"))
CONTENT = ReportContent("50 % & more", (), "x", (AXIS,), CELLS, (metric("fid", "FID", False),))


def test_csv_has_all_digits_and_says_who_shares_the_best() -> None:
    rows = {row["cell_id"]: row for row in csv.DictReader(io.StringIO(csv_table(CONTENT)))}
    assert (float(rows["c"]["fid"]), rows["c"]["fid.num_images"]) == (1 / 3 + 20, "9")
    assert (rows["c"]["fid.low"], rows["c"]["fid.difference"], rows["c"]["fid.standing"]) == ("", "", "")
    assert [rows[name]["fid.standing"] for name in "ab"] == ["best", "tied"]
    assert (rows["b"]["scheduler"], rows["b"]["num_failed"], rows["b"]["fid.difference_high"]) == ("a_b, c", "1", "0.5")


def test_latex_marks_the_best_and_escapes_what_it_would_read() -> None:
    text = latex_table(CONTENT)
    assert r"\caption{50 \% \& more. In brackets 95\,\% intervals." in text
    assert r"dpm++2m & \textbf{11.00} {\tiny [10.00, 12.00]} \\" in text
    assert r"a\_b, c & 11.30\,$\approx$ {\tiny [10.00, 12.50]} \\" in text
    assert r"ddim & 20.33 \\" in text
    assert text.count("{") == text.count("}")
    assert latex(r"\{$~^") == r"\textbackslash{}\{\$\textasciitilde{}\textasciicircum{}"


def test_a_plain_run_has_one_row_by_its_name() -> None:
    assert len(csv_table(plain_run()).splitlines()) == 2
    assert "c0ffee01" in latex_table(plain_run())


def test_no_setting_is_read_as_latexs_own() -> None:
    """A line's end, an argument of the row's end before it, signs that OT1 has others for."""
    said = "[1, 2]\n\n*<lora:a|b>"
    cells = (CellResult("a", {"scheduler": said}, 9, 0, {}),)
    text = latex_table(ReportContent("x", (), "x", (Axis("scheduler", (said,)),), cells))
    assert r"{[}1, 2] {*}\textless{}lora:a\textbar{}b\textgreater{} \\" in text.splitlines()[8]
