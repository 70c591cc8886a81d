"""Chooses and loads a renderer. The only place that knows which ones there are."""

from darkroom.domain.errors import DarkroomError
from darkroom.domain.spans import OFF, Profile
from darkroom.rendering.paint import PAINT_REPO_ID, PaintRenderer
from darkroom.rendering.renderer import Renderer
from darkroom.rendering.spec import RendererSpec


def load_renderer(spec: RendererSpec, profile: Profile = OFF) -> Renderer:
    """Load in the calling thread, which must also make every call. Raises DarkroomError for files that are spoiled."""
    if spec.model.source == PAINT_REPO_ID:
        return PaintRenderer(spec.batch_size, spec.seconds_per_batch)
    from safetensors import SafetensorError

    from darkroom.rendering.diffusion import load_diffusers

    spoiled = (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError)  # what libraries make of it
    try:
        return load_diffusers(spec, profile)
    except DarkroomError:
        raise  # says it already
    except spoiled as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DarkroomError(f"model.repo_id={spec.model.source}: cannot be loaded ({reason}); copy it anew") from error
