"""Settings that shape pixels: the model, the sampling, and the cell that joins them under one digest."""

from dataclasses import asdict, dataclass

from pipeline.domain.identity import digest


@dataclass(frozen=True)
class ModelRef:
    """A model as the user names it."""

    repo_id: str  # hub id or local folder
    revision: str | None = None  # branch, tag or commit; None for a local folder
    dtype: str = "auto"  # auto, float32, float16 or bfloat16; auto: float32 on CPU, float16 elsewhere
    variant: str | None = None  # file variant, such as fp16
    trust_remote_code: bool = False


@dataclass(frozen=True)
class ModelIdentity:
    """A model as it was found: enough to name its pixels, nothing about the machine that holds it."""

    repo_id: str  # as the user named it
    revision: str  # hub commit, or "sha256:..." over a local folder's weights and configuration
    dtype: str  # float32, float16 or bfloat16
    pipeline_class: str  # diffusers class, such as StableDiffusionPipeline
    trust_remote_code: bool = False
    variant: str | None = None  # file variant, such as fp16


@dataclass(frozen=True)
class Sampling:
    """How a prompt becomes an image, by diffusers' parameter names."""

    scheduler: str  # a name of the scheduler table, or "default" for the model's own
    guidance_scale: float
    num_inference_steps: int
    height: int  # pixels
    width: int  # pixels
    negative_prompt: str = ""


@dataclass(frozen=True)
class Cell:
    """One setting of everything that shapes the image. How it is executed is not part of it."""

    model: ModelIdentity
    sampling: Sampling

    @property
    def cell_id(self) -> str:
        model = self.model
        shaped_by = (model.revision, model.variant, model.dtype, model.trust_remote_code)
        return digest("cell", *shaped_by, asdict(self.sampling), length=16)
