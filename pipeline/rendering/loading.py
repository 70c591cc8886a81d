"""Chooses and loads a renderer. The only place that knows which ones there are."""

from pipeline.profiling.spans import OFF, Profile
from pipeline.rendering.paint import PAINT_REPO_ID, PaintRenderer
from pipeline.rendering.renderer import Renderer
from pipeline.rendering.spec import RendererSpec


def load_renderer(spec: RendererSpec, profile: Profile = OFF) -> Renderer:
    """Load in the calling thread, which must also make every call."""
    if spec.model.identity.repo_id == PAINT_REPO_ID:
        return PaintRenderer(spec.batch_size, spec.seconds_per_batch)
    from pipeline.rendering.diffusion import load_diffusers

    return load_diffusers(spec, profile)
