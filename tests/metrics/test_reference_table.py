import pytest

from tests.metrics.reference_table import lines


def test_every_figure_equals_the_reference_packages() -> None:
    """Published Vendi scores have five digits; matrices that are singular cost torchmetrics and torch-fidelity some."""
    for name, package, theirs, ours in lines():
        digits = 1e-4 if "README" in name else 1e-7
        assert ours == pytest.approx(theirs, rel=digits), (name, package)
