"""The demo's prompt set: captions of scenes that the embedded model was never trained on."""

from pipeline.demo.world import Scene, scenes

_SEED = 7
NUM_PROMPTS = 64


def demo_prompts() -> list[dict[str, str]]:
    """Rows of the dataset: `prompt`, and what the scene holds as columns to group by."""
    return [_row(scene) for scene in scenes(_SEED, NUM_PROMPTS, held_out=True)]


def _row(scene: Scene) -> dict[str, str]:
    return {
        "prompt": scene.caption(),
        "category": "two objects" if scene.second else "one object",
        "relation": scene.relation or "",
        "background": scene.background or "",
    }
