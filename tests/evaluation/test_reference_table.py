import pytest

from tests.evaluation.reference_table import lines


@pytest.mark.slow
def test_every_figure_equals_the_reference_packages() -> None:
    for line in lines():
        assert line.found == pytest.approx(line.expected, rel=line.digits), (line.name, line.package)
