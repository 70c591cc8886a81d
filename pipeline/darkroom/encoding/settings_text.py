"""An image's settings as text, for inside its file: the `parameters` line that image tools read, and JSON."""

import json

from darkroom.domain.cells import ModelIdentity
from darkroom.domain.requests import ImageRequest
from darkroom.domain.settings import SETTINGS

_FIRST = ("Steps", "Sampler", "CFG scale")  # labels that begin the line


def settings(request: ImageRequest, model: ModelIdentity) -> dict[str, object]:
    """What this image is a function of. No time, machine or run: equal images give equal files."""
    return {
        "image_id": request.image_id,
        "prompt": request.prompt,
        **request.sampling.effective,
        "seed": request.seed,
        "model": model.repo_id,
        "model_revision": model.revision,
        "dtype": model.dtype,
    }


def settings_json(request: ImageRequest, model: ModelIdentity) -> str:
    return json.dumps(settings(request, model), ensure_ascii=False, sort_keys=True)


def parameters_line(request: ImageRequest, model: ModelIdentity) -> str:
    """The settings in the layout that AUTOMATIC1111's tools write and most image browsers read."""
    sampling = request.sampling
    labelled = {SETTINGS[name].label: value for name, value in sampling.effective.items() if SETTINGS[name].label}
    fields = {
        **{label: labelled.pop(label) for label in _FIRST},
        "Seed": request.seed,
        "Size": f"{sampling.width}x{sampling.height}",
        "Model": json.dumps(model.repo_id) if set(model.repo_id) & set(',:"\n') else model.repo_id,
        "Model hash": model.revision.removeprefix("sha256:")[:10],
        **labelled,
    }
    negative = f"\nNegative prompt: {sampling.negative_prompt}" if sampling.negative_prompt else ""
    return request.prompt + negative + "\n" + ", ".join(f"{name}: {value}" for name, value in fields.items())
