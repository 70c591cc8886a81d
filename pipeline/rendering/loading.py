"""Chooses and loads a renderer. The only place that knows which ones there are."""

from dataclasses import dataclass

from pipeline.rendering.inspection import InspectedModel
from pipeline.rendering.paint import PAINT_REPO_ID, PaintRenderer
from pipeline.rendering.renderer import Renderer


@dataclass(frozen=True)
class RendererSpec:
    """What a renderer is made from: small and picklable."""

    model: InspectedModel
    device: str  # cpu, cuda or mps
    batch_size: int  # images in every call of the model
    compile: bool = False  # torch.compile: a slow first batch, faster ones after it
    num_threads: int = 1  # of the CPU, a worker; one number everywhere, since another one may move low bits
    seconds_per_batch: float = 0.0  # of the paint renderer: how long it pretends to work


def load_renderer(spec: RendererSpec) -> Renderer:
    """Load in the calling thread, which must also make every call."""
    if spec.model.identity.repo_id == PAINT_REPO_ID:
        return PaintRenderer(spec.batch_size, spec.seconds_per_batch)
    from pipeline.rendering.diffusion import load_diffusers

    return load_diffusers(spec)
