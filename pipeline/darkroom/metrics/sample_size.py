"""When the numbers of images say that a Frechet distance is not to be trusted. Knows counts alone."""


def sample_size_warnings(num_images: int, num_reference: int | None, dimension: int) -> list[str]:
    """Lines to print beside a distance of features of `dimension`; none where all is well.

    FID's bias grows as images get fewer and differs with their number (Binkowski et al. 2018, Chong and Forsyth 2020).
    """
    found = [
        f"{whose} {count:,} images are fewer than twice the {dimension:,} feature dimensions: "
        f"the distance is biased upwards; give {2 * dimension:,} or more, or state KID"
        for whose, count in (("the", num_images), ("the reference's", num_reference))
        if count is not None and count < 2 * dimension
    ]
    if num_reference is not None and num_reference != num_images:
        found.append(
            f"{num_images:,} images against {num_reference:,} of the reference: "
            "compare this distance only with others of the same two numbers"
        )
    return found
