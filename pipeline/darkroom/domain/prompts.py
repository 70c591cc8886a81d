"""One row of a prompt dataset, as every room sees it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PromptRow:
    """A prompt and what its row says about how to render it; `None` leaves the run's value standing."""

    row: int  # 0-based position in the dataset
    prompt_id: str  # from the dataset, or a digest of what the row says (repeats told apart by their occurrence)
    prompt: str
    negative_prompt: str | None = None
    seed: int | None = None
    guidance_scale: float | None = None
    num_inference_steps: int | None = None
    height: int | None = None
    width: int | None = None
    num_images_per_prompt: int | None = None
    error: str | None = None  # why the row cannot be rendered, when invalid rows are recorded and not refused


# Column name -> Python type of what a prompt file may say beside `prompt`.
ROW_COLUMNS = {
    "prompt_id": str,
    "negative_prompt": str,
    "seed": int,
    "guidance_scale": float,
    "num_inference_steps": int,
    "height": int,
    "width": int,
    "num_images_per_prompt": int,
}
