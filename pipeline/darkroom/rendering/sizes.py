"""The size that a pipeline makes of the one that it is asked for, as diffusers 0.42 computes it.

Plain arithmetic: what a class does is said in `families.py`, and nothing here knows a model.
"""

from math import ceil, sqrt

Size = tuple[int, int]  # (height, width)

_CASCADE_PIXELS, _CASCADE_LATENTS, _CASCADE_VQGAN = 42.67, 10.67, 4  # of one latent pixel of the prior
_KANDINSKY5 = ((1024, 1024), (1408, 640), (640, 1408), (1280, 768), (768, 1280), (1152, 896), (896, 1152))


def rounded_down(size: Size, unit: int) -> Size:
    return size[0] // unit * unit, size[1] // unit * unit


def rounded_up(size: Size, unit: int) -> Size:
    return -(-size[0] // unit) * unit, -(-size[1] // unit) * unit


def of_one_area(size: Size, unit: int) -> Size:
    """HiDream: the area of a square of 64 units, 1024 pixels of the published model, in the ratio of the sides."""
    scale = sqrt((64 * unit) ** 2 / (size[0] * size[1]))
    return int(size[0] * scale // unit * unit), int(size[1] * scale // unit * unit)


def of_one_list(size: Size, _: int) -> Size:
    """Kandinsky 5: the size of nearly the same ratio of width to height."""
    return min(_KANDINSKY5, key=lambda each: (each != size, abs(each[1] / each[0] - size[1] / size[0])))


def of_two_stages(size: Size, _: int) -> Size:
    """Stable Cascade: whole latent pixels of the prior, then of the decoder."""
    height, width = (int(ceil(side / _CASCADE_PIXELS) * _CASCADE_LATENTS) * _CASCADE_VQGAN for side in size)
    return height, width
