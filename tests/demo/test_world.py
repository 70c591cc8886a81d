import numpy as np
import pytest

from darkroom.demo import world
from darkroom.demo.drawing import draw, judge, objects_in
from darkroom.demo.training_loop import attribute_words
from darkroom.demo.world import Scene, Thing, demo_prompts


def test_scenes_and_pictures_come_from_the_seed_alone() -> None:
    assert world.scenes(3, 20, held_out=True) == world.scenes(3, 20, held_out=True)
    first, second = (
        [draw(scene, np.random.default_rng(1)) for scene in world.scenes(3, 5, held_out=True)] for _ in range(2)
    )
    assert np.array_equal(first, second)


@pytest.mark.slow
def test_no_held_out_scene_is_trained_on_under_either_name() -> None:
    trained = set(world.scenes(0, 3000, held_out=False))
    for scene in world.scenes(0, 500, held_out=True):
        assert not {scene, scene.mirrored} & trained
    scene = Scene(Thing("large", "red", "circle"), "white", "above", Thing("small", "blue", "cross"))
    assert (
        scene.mirrored.caption()
        == "a small blue cross at the bottom and a large red circle at the top, on a white background"
    )
    assert scene.mirrored.mirrored == scene


@pytest.mark.slow
def test_demo_prompts_are_different_and_held_out() -> None:
    prompts = [row["prompt"] for row in demo_prompts()]
    assert len(set(prompts)) == len(prompts) == 64
    scenes = world.distinct_scenes(7, 512)
    assert set(prompts) <= {scene.caption() for scene in scenes}
    assert all(scene.is_held_out for scene in scenes)


def test_captions_say_what_is_drawn() -> None:
    scene = Scene(Thing("large", "red", "circle"), "white", "above", Thing("small", "orange", "cross"))
    assert (
        scene.caption() == "a large red circle at the top and a small orange cross at the bottom, on a white background"
    )
    assert Scene(Thing(None, "orange", "ring"), None).caption() == "an orange ring"
    assert attribute_words(scene)["second colour"] == "orange"


@pytest.mark.slow
def test_the_check_reads_every_true_drawing_right() -> None:
    rng = np.random.default_rng(5)
    for scene in world.distinct_scenes(9, 150):
        assert judge(draw(scene, rng), scene).everything, scene


def test_the_check_sees_what_is_wrong() -> None:
    rng = np.random.default_rng(5)
    scene = Scene(Thing("large", "red", "circle"), "white", "above", Thing("small", "blue", "cross"))
    picture = draw(scene, rng)
    assert not judge(picture, Scene(scene.first, "black", "above", scene.second)).background
    assert not judge(picture, Scene(scene.first, "white", "below", scene.second)).relation
    assert not judge(picture, Scene(Thing("large", "red", "square"), "white", "above", scene.second)).shape
    assert not judge(picture, Scene(Thing("small", "red", "circle"), "white", "above", scene.second)).size
    assert not judge(picture, Scene(Thing("large", "green", "circle"), "white", "above", scene.second)).colour
    assert not judge(np.full((64, 64, 3), 250, np.uint8), scene).shape
    mush = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert not judge(mush, scene).everything


@pytest.mark.parametrize("shape", world.SHAPES)
def test_each_shape_is_told_from_the_others(shape: str) -> None:
    for size in world.SIZES:
        picture = draw(Scene(Thing(size, "green", shape), "black"), np.random.default_rng(0))
        [seen] = objects_in(picture, 1)
        assert (seen.shape, seen.size, seen.colour) == (shape, size, "green")
