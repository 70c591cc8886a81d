"""Measure with a scorer that Darkroom does not know: a module with a function that makes one.

python infra/examples/score_of_ones_own.py [folder]
"""

import sys
from collections.abc import Sequence

import numpy as np

import darkroom
from darkroom.evaluation.extractor import ExtractorSpec
from darkroom.runs.features import ExtractorInfo


class Redness:
    """The share of red in an image's light, from 0 to 1."""

    info = ExtractorInfo("redness", weights="none", resize="none", dimension=1, is_scorer=True)

    def scores(self, pictures: Sequence[np.ndarray], captions: Sequence[str]) -> np.ndarray:
        """`pictures`: (height, width, 3) uint8 each; (N,) float32."""
        return np.array([picture[..., 0].sum() / max(1, picture.sum()) for picture in pictures], np.float32)


def make(spec: ExtractorSpec) -> Redness:
    return Redness()


if __name__ == "__main__":
    out = sys.argv[1] if len(sys.argv) > 1 else "runs/examples/scorer"
    run = darkroom.generate(["a red circle", "a blue circle"], model="demo", out=out, num_inference_steps=5)
    # The module's name, where Python finds it: here beside this script, on workers wherever it is installed.
    result = run.evaluate(extractors=["score_of_ones_own:make"])
    print(result.table)
