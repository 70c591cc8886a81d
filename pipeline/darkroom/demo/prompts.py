"""The demo's prompt set: captions of scenes that the embedded model was never trained on."""

from functools import cache

from darkroom.demo.world import Scene, distinct_scenes

_SEED = 7
NUM_PROMPTS = 64
_ONE_OBJECT = 20  # of them


def demo_prompts() -> list[dict[str, str]]:
    """Rows of the dataset: `prompt`, and what the scene holds as columns to group by."""
    return [_row(scene) for scene in demo_scenes()]


@cache
def demo_scenes() -> tuple[Scene, ...]:
    """What the prompts describe, in their order; finding so many that are held out takes seconds."""
    found = distinct_scenes(_SEED, 512)
    ones = [scene for scene in found if not scene.second][:_ONE_OBJECT]
    twos = [scene for scene in found if scene.second][: NUM_PROMPTS - len(ones)]
    chosen = {*ones, *twos}
    return tuple(scene for scene in found if scene in chosen)


def _row(scene: Scene) -> dict[str, str]:
    return {
        "prompt": scene.caption(),
        "category": "two objects" if scene.second else "one object",
        "shape": " and ".join(thing.shape for thing in scene.things),
        "colour": " and ".join(thing.colour or "" for thing in scene.things),
        "relation": scene.relation or "",
        "background": scene.background or "",
    }
