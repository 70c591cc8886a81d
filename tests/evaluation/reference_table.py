"""Our figures beside the reference packages' on their seeded data: `python -m tests.evaluation.reference_table`."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from darkroom.evaluation.frechet import frechet_distance
from darkroom.evaluation.kernel_distances import kid
from darkroom.evaluation.moments import FeatureMoments
from darkroom.evaluation.neighbours import neighbours
from darkroom.evaluation.reference_free import vendi_score, vendi_score_of_kernel
from tests.evaluation.published_values import reference_values


class Line(NamedTuple):
    """A figure beside a package's."""

    name: str  # figure and its data
    package: str
    expected: float
    found: float
    digits: float = 1e-9  # relative: as far as the package is exact


def lines() -> Iterator[Line]:
    yield from _fid()
    yield from _kid()
    yield from _neighbours()
    yield from _vendi()


def table() -> str:
    head = f"{'figure':<40} {'package':<24} {'expected':>18} {'found':>18} {'relative difference':>20}"
    rows = (
        f"{line.name:<40} {line.package:<24} {line.expected:>18.12g} {line.found:>18.12g} "
        f"{abs(line.found / line.expected - 1):>20.1e}"
        for line in lines()
    )
    return "\n".join([head, *rows])


def _fid() -> Iterator[Line]:
    for case in reference_values("fid"):
        rng = np.random.RandomState(case["seed"])
        first, second = (
            FeatureMoments.of(rng.randn(case["N"], case["C"])).gaussian() for _ in range(2)
        )  # in that order
        found = frechet_distance(first, second)
        for package in ("torch_fidelity", "clean_fid_sqrtm", "pytorch_fid_sqrtm", "torchmetrics_float64"):
            # Matrices that are singular cost torchmetrics and torch-fidelity some digits.
            yield Line(f"FID, {case['N']} x {case['C']}, seed {case['seed']}", package, case[package], found, 1e-7)


def _kid() -> Iterator[Line]:
    for case in reference_values("kid"):
        rng = np.random.RandomState(case["seed"])
        features = rng.randn(case["n"], case["d"])
        reference = rng.randn(case["m"], case["d"]) + case["shift"]
        size = min(case["n"], case["m"])  # the packages take as many of both
        found = kid(features[:size], reference[:size])
        name = f"KID, {case['n']} and {case['m']} x {case['d']}, shift {case['shift']:g}"
        yield Line(name, "formula of the paper", case["full_unbiased_mmd2_first_min_nm"], found)
        if case["n"] == case["m"]:
            yield Line(name, "torchmetrics", case["torchmetrics_poly_mmd"], found)


def _neighbours() -> Iterator[Line]:
    for case in reference_values("prdc"):
        rng = np.random.RandomState(case["seed"])
        real = rng.randn(case["n_real"], case["d"])
        fake = rng.randn(case["n_fake"], case["d"]) * case["fake_scale"] + case["fake_shift"]
        found = vars(neighbours(fake, real, case["k"]))
        for name, expected in case["prdc"].items():
            yield Line(
                f"{name}, {case['n_fake']} against {case['n_real']} x {case['d']}", "prdc", expected, found[name]
            )


def _vendi() -> Iterator[Line]:
    for case in reference_values("vendi"):
        features = np.random.RandomState(case["seed"]).randn(case["n"], case["d"]) + case["offset"]
        for kind in ("score_X", "score_dual"):
            yield Line(f"Vendi, {case['n']} x {case['d']}", f"vendi-score {kind}", case[kind], vendi_score(features))
    for case in reference_values("vendi_published"):
        samples = np.array(case.get("samples", []), float)
        kernel = np.array(case["K"]) if "K" in case else np.exp(-np.abs(samples[:, None] - samples))
        name, found = f"Vendi, kernel of {len(kernel)}, its README", vendi_score_of_kernel(kernel)
        yield Line(name, "vendi-score", case["score"], found, 1e-4)  # stated to five digits


if __name__ == "__main__":
    print(table())
