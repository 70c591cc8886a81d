"""Rendered images as the files that a run keeps, with the texts beside them. Pure; knows no store."""

from dataclasses import replace

import numpy as np

from darkroom.domain.cells import ModelIdentity
from darkroom.domain.requests import ImageRequest, Sample
from darkroom.encoding.containers import Member
from darkroom.encoding.images import EXTENSIONS, encode
from darkroom.encoding.settings_text import parameters_line, settings_json
from darkroom.rendering.renderer import RenderedImage
from darkroom.runs.run import OutputInfo


def encode_member(sample: Sample, image: RenderedImage, model: ModelIdentity, output: OutputInfo) -> Member:
    """An image's file and what is stored beside it: a function of the request, the pixels and the run's format."""
    assert image.pixels is not None
    request, settings = sample.request, settings_json(sample.request, model)
    text = {"parameters": parameters_line(request, model), "darkroom": settings}
    return _member(request, encode(image.pixels, output.image_format, output.quality, text), settings, output)


def as_rendered(sample: Sample, pixels: np.ndarray) -> Sample:
    """The sample with the size that its image has: some pipelines round what they are asked for."""
    request, (height, width) = sample.request, pixels.shape[:2]
    if (height, width) == (request.sampling.height, request.sampling.width):
        return sample
    sampling = replace(request.sampling, height=height, width=width)
    return replace(sample, request=replace(request, sampling=sampling))


def as_member(request: ImageRequest, data: bytes, model: ModelIdentity, output: OutputInfo) -> Member:
    """An image that is a file already, with what is stored beside it."""
    return _member(request, data, settings_json(request, model), output)


def _member(request: ImageRequest, data: bytes, settings: str, output: OutputInfo) -> Member:
    return Member(request.image_id, data, EXTENSIONS[output.image_format], request.prompt, settings)
