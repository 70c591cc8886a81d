"""An image's settings as text, for inside its file: the `parameters` line that image tools read, and JSON."""

import json

from darkroom.domain.cells import ModelIdentity
from darkroom.domain.images import ImageRequest


def settings(request: ImageRequest, model: ModelIdentity) -> dict[str, object]:
    """What this image is a function of. No time, machine or run: equal images give equal files."""
    sampling = request.sampling
    return {
        "image_id": request.image_id,
        "prompt": request.prompt,
        "negative_prompt": sampling.negative_prompt,
        "seed": request.seed,
        "scheduler": sampling.scheduler,
        "guidance_scale": sampling.guidance_scale,
        "num_inference_steps": sampling.num_inference_steps,
        "height": sampling.height,
        "width": sampling.width,
        **sampling.lossy,
        "model": model.repo_id,
        "model_revision": model.revision,
        "dtype": model.dtype,
    }


def settings_json(request: ImageRequest, model: ModelIdentity) -> str:
    return json.dumps(settings(request, model), ensure_ascii=False, sort_keys=True)


def parameters_line(request: ImageRequest, model: ModelIdentity) -> str:
    """The settings in the layout that AUTOMATIC1111's tools write and most image browsers read."""
    sampling = request.sampling
    fields = {
        "Steps": sampling.num_inference_steps,
        "Sampler": sampling.scheduler,
        "CFG scale": sampling.guidance_scale,
        "Seed": request.seed,
        "Size": f"{sampling.width}x{sampling.height}",
        "Model": json.dumps(model.repo_id) if set(model.repo_id) & set(',:"\n') else model.repo_id,
        "Model hash": model.revision.removeprefix("sha256:")[:10],
    }
    negative = f"\nNegative prompt: {sampling.negative_prompt}" if sampling.negative_prompt else ""
    return request.prompt + negative + "\n" + ", ".join(f"{name}: {value}" for name, value in fields.items())
