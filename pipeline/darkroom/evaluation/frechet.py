"""The Frechet distance (FID where the features are Inception's): its value, interval, extrapolation and limits."""

from collections.abc import Sequence

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.deletion import root_losses
from darkroom.evaluation.moments import FeatureMoments, Gaussian, centred, checked, rank_mask, row_blocks
from darkroom.evaluation.resampling import sample_keys, subset

_SMALLEST = 5000  # of the subsets of an extrapolation, or a tenth of the images where that is less


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """|m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1 C2)^(1/2)), in float64: Dowson and Landau 1982, Heusel et al. 2017.

    The last trace is taken as the sum of the singular values of A1^T A2, where C = A A^T. Eigenvalues of the product
    would have to be square-rooted, and rounding of 1e-16 in the many that are zero where images are fewer than
    dimensions would come out as 1e-8 each. Never negative; zero to rounding for equal Gaussians.
    """
    if first.mean.shape != second.mean.shape:
        found = f"{len(first.mean)} and {len(second.mean)} dimensions"
        raise DarkroomError(f"Frechet distance: Gaussians of {found}; take both from one extractor")
    shift = first.mean - second.mean
    cross = np.linalg.svd(first.factor.T @ second.factor, compute_uv=False).sum()
    traces = np.trace(first.covariance) + np.trace(second.covariance)
    return max(0.0, float(shift @ shift + traces - 2 * cross))


def frechet_deletions(features: np.ndarray, gaussian: Gaussian, reference: Gaussian) -> np.ndarray:
    """(n,) influence values of (n, d) features: what the distance loses without each image.

    They may be some of more images, whose Gaussian is `gaussian`. Derivatives alone would say too little of few images:
    near 2 d of them, each bends the covariance towards itself. Takes 3 images at least.

    It speaks of the distance at this n, bias and all, for that is what is stated and compared; it need not hold the
    distance over endlessly many images, which is what `extrapolated_fid` estimates. The reference counts as fixed.
    """
    features = checked(features)
    count = gaussian.count or len(features)
    maps, eigenvalues, cross = _eigenvectors(gaussian, reference)
    shift, without = gaussian.mean - reference.mean, np.empty(len(features))
    trace = np.trace(gaussian.covariance)
    for rows in row_blocks(*features.shape):
        shifted = features[rows] - gaussian.mean
        lengths = np.square(shifted).sum(axis=1)
        means = (lengths / (count - 1) - 2 * (shifted @ shift)) / (count - 1)
        traces = ((count - 1) * trace - count / (count - 1) * lengths) / (count - 2)
        losses = root_losses(eigenvalues, np.square(shifted @ maps), count / (count - 1) ** 2)
        roots = ((count - 1) / (count - 2)) ** 0.5 * (cross - losses)
        without[rows] = means + traces - 2 * roots
    return (1 - count) * centred(without)


def frechet_curvature(features: np.ndarray, gaussian: Gaussian, reference: Gaussian, weights: np.ndarray) -> float:
    """Second-order change of the distance of (n, d) features where their weights change by (n,) `weights`, of sum 0.

    Half the second derivative of tr f(M) is of divided differences of f' (Daleckii and Krein 1965), here of a root; the
    squared shift of the mean is in the covariance too, where it cancels out, but for that in M.
    """
    maps, eigenvalues, _ = _eigenvectors(gaussian, reference)
    moved, products = np.zeros(len(eigenvalues)), np.zeros((len(eigenvalues),) * 2)
    for rows in row_blocks(*features.shape):
        projected = (features[rows] - gaussian.mean) @ maps
        moved += weights[rows] @ projected
        products += (projected * weights[rows, None]).T @ projected
    roots = np.sqrt(eigenvalues)
    bends = np.square(products) / (np.outer(roots, roots) * (roots[:, None] + roots))
    return float((np.square(moved) / roots).sum() + bends.sum() / 2)


def _eigenvectors(gaussian: Gaussian, reference: Gaussian) -> tuple[np.ndarray, np.ndarray, float]:
    """(d, r) maps to M's eigenvectors, (r,) ascending eigenvalues, and tr M^(1/2), which is that of (C C_r)^(1/2).

    C = A A^T, and M = (A_r^T A)(A_r^T A)^T.
    """
    vectors, singular, _ = np.linalg.svd(reference.factor.T @ gaussian.factor, full_matrices=False)
    kept = rank_mask(np.square(singular[::-1]))[::-1]
    maps, eigenvalues = reference.factor @ vectors[:, kept][:, ::-1], np.square(singular[kept][::-1])
    return maps, eigenvalues, float(singular.sum())


def extrapolated_fid(
    features: np.ndarray, ids: Sequence[str], reference: Gaussian, num_points: int = 15, seed: int = 0
) -> float:
    """FID-infinity of (n, d) features: FID is biased by about c / N, so fit FID over 1 / N by a line and read it at 0.

    Chong and Forsyth 2020, with the sizes of dgm-eval (Stein et al. 2023): `num_points` sizes evenly from 5,000 (or a
    tenth of the images) to all. Each size has its own subset, decided by `ids` and `seed` and never by order. The bias
    that comes from the reference's own size stays. May fall below 0 by chance where the distance is about 0.
    """
    features = checked(features)
    sizes = _sizes(len(features), num_points)
    keys = sample_keys(ids, len(features), seed, "extrapolated fid")
    distances = [
        frechet_distance(FeatureMoments.of(features[subset(keys, draw, size)]).gaussian(), reference)
        for draw, size in enumerate(sizes)
    ]
    slope_and_intercept = np.polyfit(1 / sizes, distances, deg=1)
    return float(slope_and_intercept[1])


def smallest_of_line(num_images: int) -> int:
    """Images of the smallest subset that the distance is extrapolated from."""
    return min(_SMALLEST, max(num_images // 10, 2))


def _sizes(num_images: int, num_points: int) -> np.ndarray:
    sizes = np.linspace(smallest_of_line(num_images), num_images, num_points).astype(int)
    if len(np.unique(sizes)) < 2:
        found = f"{num_images} images at {num_points} points"
        raise DarkroomError(f"extrapolated FID: {found} give no line; give at least 2 points and hundreds of images")
    return sizes


def sample_size_warnings(num_images: int, num_reference: int | None, dimension: int) -> list[str]:
    """Lines to print beside a distance of features of `dimension`; none where all is well.

    FID's bias grows as images get fewer and differs with their number (Binkowski et al. 2018, Chong and Forsyth 2020).
    """
    found = [
        f"{whose} {count:,} images are fewer than twice the {dimension:,} feature dimensions: "
        f"the distance is biased upwards{ranks}; give {2 * dimension:,} or more, or state KID"
        for whose, count, ranks in (
            ("the", num_images, " and ranks no cells, since the worse one is often lower"),
            ("the reference's", num_reference, ""),
        )
        if count is not None and count < 2 * dimension
    ]
    if num_reference is not None and num_reference != num_images:
        found.append(
            f"{num_images:,} images against {num_reference:,} of the reference: "
            "compare this distance only with others of the same two numbers"
        )
    return found
