"""Scores of videos by an extractor of pictures, of evenly spaced frames: how frames fit the prompt, and one another.

`frame_clip_score` is 100 times the mean cosine of frames and prompt; `frame_consistency` the mean cosine of each of
these frames and the next. In CLIP's space they are the "textual alignment" and "frame consistency" of Tune-A-Video
(Wu et al. 2023); by DINOv2 the latter is near VBench's "subject consistency" (Huang et al. 2024).
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from darkroom.evaluation.extractor import CaptionExtractor, Extractor
from darkroom.runs.features import ExtractorInfo, Score

NUM_FRAMES = 8  # of each video, the first and the last among them; all where it has no more
_CLIP_SCORE, _CONSISTENCY = Score("frame_clip_score"), Score("frame_consistency")


def of_frames(info: ExtractorInfo) -> ExtractorInfo:
    """Of the scorer that an extractor's features of frames make."""
    scores = (_CLIP_SCORE, _CONSISTENCY) if info.reads_captions else (_CONSISTENCY,)
    return replace(
        info,
        name=f"{info.name}_frames",
        resize=f"{info.resize}; {NUM_FRAMES} frames",
        dimension=len(scores),
        is_scorer=True,
        scores=scores,
        num_frames=NUM_FRAMES,
    )


class FrameScorer:
    """An ImageScorer of videos."""

    def __init__(self, extractor: Extractor) -> None:
        self.info = of_frames(extractor.info)
        self._extractor = extractor

    def scores(self, pictures: Sequence[np.ndarray], captions: Sequence[str]) -> np.ndarray:
        """(N, dimension) float32 of N videos, each (F, H, W, 3) uint8 RGB; of one frame there is no consistency, which
        is then NaN."""
        features = _unit(self._extractor.features([frame for video in pictures for frame in video]))
        videos = np.split(features, np.cumsum([len(video) for video in pictures])[:-1])
        columns = [[_consistency(video) for video in videos]]
        if isinstance(self._extractor, CaptionExtractor):
            texts = self._extractor.caption_features(captions)
            columns.insert(0, [100 * float(np.mean(video @ text)) for video, text in zip(videos, texts, strict=True)])
        return np.array(columns, np.float32).T.reshape(len(pictures), self.info.dimension)


def _unit(features: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return features / np.maximum(lengths, 1e-12)


def _consistency(frames: np.ndarray) -> float:
    """Of (F, dimension) features of unit length."""
    cosines = [float(one @ other) for one, other in pairwise(frames)]
    return float(np.mean(cosines)) if cosines else float("nan")
