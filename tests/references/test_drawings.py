from itertools import islice
from pathlib import Path

import numpy as np

from darkroom.demo.prompts import demo_prompts, demo_scenes
from darkroom.demo.sight import judge
from darkroom.features.extractor import ExtractorSpec
from darkroom.references.drawings import NUM_DRAWINGS, drawings
from tests.references.making import Measuring


def test_drawings_show_what_the_prompts_say() -> None:
    scenes = demo_scenes()
    assert [scene.caption() for scene in scenes] == [row["prompt"] for row in demo_prompts()]
    drawn = list(islice(drawings(), len(scenes) + 1))
    for number in range(0, len(drawn), 5):
        assert judge(drawn[number], scenes[number % len(scenes)]).everything
    assert not np.array_equal(drawn[0], drawn[len(scenes)])


def test_the_embedded_model_is_measured_against_them(tmp_path: Path) -> None:
    spec = ExtractorSpec("demo_clip", batch_size=128)
    first, second = (Measuring(tmp_path / "cache", spec) for _ in range(2))
    found = first("demo")
    assert found.features is not None
    assert found.features.shape == (NUM_DRAWINGS, first.info.dimension)
    assert np.linalg.matrix_rank(found.gaussian.covariance) == first.info.dimension
    assert len(set(found.ids)) == NUM_DRAWINGS
    again = second("demo")
    assert (again.digest, again.ids, second.num_loaded) == (found.digest, found.ids, 0)
    np.testing.assert_array_equal(again.features, found.features)
