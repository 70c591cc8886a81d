"""Pictures with the statistics of photographs, made from a seed."""

import numpy as np


def natural(seed: int, side: int) -> np.ndarray:
    """(side, side, 3) uint8: noise whose amplitude falls with frequency, as that of photographs does (Field 1987), its
    colours mostly alike, with plain patches on it."""
    rng = np.random.default_rng(seed)
    frequencies = np.fft.fftfreq(side)
    fall = np.hypot(frequencies[:, None], frequencies)
    fall[0, 0] = 1 / side
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((4, side, side))) / fall).real
    noise = (noise - noise.mean((1, 2), keepdims=True)) / noise.std((1, 2), keepdims=True)
    picture = np.stack([0.75 * noise[3] + 0.45 * noise[channel] for channel in range(3)], -1) * 45
    picture += rng.uniform(80, 175, 3)
    for y, x, height, width in rng.integers(0, side, (6, 4)):
        picture[y : y + height // 3, x : x + width // 3] += rng.uniform(-50, 50, 3)
    return np.clip(picture, 0, 255).astype(np.uint8)
