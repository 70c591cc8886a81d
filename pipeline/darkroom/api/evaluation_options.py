"""What is measured, compared, rated and decided by scores, as a caller asks for it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from darkroom.api.annotations import check_options, option
from darkroom.api.options import ENDPOINT_HELP, MANY, SEEDS
from darkroom.domain.errors import DarkroomError
from darkroom.domain.policy import DROP, KEEP, REGENERATE, USUAL_ATTEMPTS

_REFERENCE_HELP = (
    "What images are compared with: demo, a folder or address of images, tars or Parquet, a run, an .npz file; several "
    "as {name: address}, whose figures are called clip.kid@name; null: nothing."
)
_CONVENTION_HELP = "The scale of CLIP scores: hessel (2.5 times the cosine, cut at 0), x100 or mlperf (100 times)."
_PROJECTIONS_HELP = "Random directions that MIND projects features on; a large number is slow and steady."
_STATISTICS_SEED_HELP = "What subsets, resamples and MIND's directions are drawn from."


@dataclass(frozen=True)
class Expectation:
    """Between which values a figure must lie in every cell."""

    figure: str = option(help="Its name, such as inception_v3.fid.")
    lowest: float = option(-math.inf, help="The smallest value that passes.")
    highest: float = option(math.inf, help="The largest value that passes.")

    def __post_init__(self) -> None:
        check_options(self, "expect.")


@dataclass(frozen=True)
class PolicyRule:
    """What becomes of images by one of their scores: of those above or below a threshold; or, of several, the best."""

    figure: str | None = option(None, help="The score of single images that decides, such as nsfw.score.")
    above: float | None = option(None, help="Images with a higher score are refused.")
    below: float | None = option(None, help="Images with a lower score are refused.")
    then: str | None = option(
        None,
        choices=(KEEP, DROP, REGENERATE),
        help="What becomes of a refused image: keep it and say so, drop it, which leaves a record without an image, or "
        "regenerate it with the next sample index.",
    )
    attempts: int | None = option(
        None, low=2, high=1000, help=f"Of regenerate: images made for one, at most; null: {USUAL_ATTEMPTS}."
    )
    otherwise: str | None = option(
        None,
        choices=(DROP, KEEP),
        help="Of regenerate, once all are refused: drop, or keep the one that came nearest; null: drop.",
    )
    by: str | None = option(
        None, help="In the place of figure: the score by which the best images are kept, such as clip_score."
    )
    keep: int | None = option(None, low=1, high=1000, help="Of by: so many images ...; null: 1.")
    of: int | None = option(None, low=2, high=1000, help="Of by: ... of so many samples.")

    def __post_init__(self) -> None:
        check_options(self, "policy.")
        if self.by is not None:
            self._refuse(("figure", "above", "below", "then", "attempts", "otherwise"), "by")
            self._check_best()
        elif self.figure is None:
            raise DarkroomError(f"policy: an entry without figure and by; give {_POLICY_FORMS}")
        else:
            self._refuse(("keep", "of"), "figure")
            self._check_rule()

    @property
    def given(self) -> dict[str, Any]:
        """What is said, by name."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) is not None}

    def _refuse(self, names: Sequence[str], kind: str) -> None:
        for name in names:
            if getattr(self, name) is not None:
                raise DarkroomError(f"policy.{name}={getattr(self, name)}: is not of an entry with {kind}; give "
                                    f"{_POLICY_FORMS}")  # fmt: skip

    def _check_best(self) -> None:
        if self.of is None:
            raise DarkroomError(f"policy: {self.by} keeps the best, and of is missing: of how many; give of=4, say")
        if (self.keep or 1) >= self.of:
            raise DarkroomError(f"policy: keep={self.keep or 1} of {self.of} leaves nothing to choose; give more as of")

    def _check_rule(self) -> None:
        if (self.above is None) == (self.below is None):
            what = "a threshold without a direction" if self.above is None else "above and below"
            raise DarkroomError(f"policy: {self.figure} has {what}; give one of above=... and below=...")
        threshold = self.above if self.above is not None else self.below
        if threshold is not None and not math.isfinite(threshold):
            raise DarkroomError(f"policy: {self.figure}: a threshold of {threshold}; give a number")
        if self.then is None:
            raise DarkroomError(f"policy: {self.figure} says not what then; give then=keep, drop or regenerate")
        for name in ("attempts", "otherwise"):
            if self.then != REGENERATE and getattr(self, name) is not None:
                raise DarkroomError(f"policy.{name}={getattr(self, name)}: is of then=regenerate; leave it out")


_POLICY_FORMS = "{figure: ..., above: ..., then: keep, drop or regenerate} or {keep: 1, of: 4, by: ...}"


@dataclass(frozen=True)
class EvaluationOptions:
    """What is measured, against what."""

    reference: str | Sequence[str] | Mapping[str, str] | None = option(
        None, is_place=True, is_several=True, help=_REFERENCE_HELP
    )
    reference_endpoint_url: str | None = option(None, help=ENDPOINT_HELP)
    extractors: Sequence[str | Mapping[str, Any]] = option(
        ("demo_clip",),
        help="What turns images into features: names such as demo_clip, clip, dinov2 and inception_v3, module:function "
        "of one's own, or {name: ..., source: ...}.",
    )
    metrics: Sequence[str] | None = option(
        None,
        help="Names such as clip.kid, or kid of all extractors that have it; null: those that the extractors are made "
        "for.",
    )
    by: Sequence[str] | None = option(
        None,
        help="Columns of the prompts, such as category: figures that are means of images' scores are told by their "
        "values too; null: by none.",
    )
    clip_convention: str = option("hessel", help=_CONVENTION_HELP)
    mind_num_projections: int = option(1000, low=1, high=1_000_000, help=_PROJECTIONS_HELP)
    seed: int = option(0, **SEEDS, help=_STATISTICS_SEED_HELP)
    expect: Sequence[Expectation] = option(
        (),
        help="Figures with the range that each must lie in, such as {figure: inception_v3.fid, highest: 24}; exit "
        "code 1 where one does not.",
    )

    def __post_init__(self) -> None:
        check_options(self, "evaluation.")


@dataclass(frozen=True)
class ComparisonOptions:
    """What two runs are compared by."""

    metrics: Sequence[str] | None = option(
        None, help="Names such as demo_clip.clip_score; null: all of the extractors that have intervals."
    )
    extractors: Sequence[str | Mapping[str, Any]] | None = option(
        None, help="As in evaluate; null: those that the metrics name."
    )
    reference: str | Sequence[str] | Mapping[str, str] | None = option(
        None, is_place=True, is_several=True, help=_REFERENCE_HELP
    )
    reference_endpoint_url: str | None = option(None, help=ENDPOINT_HELP)
    clip_convention: str = option("hessel", help=_CONVENTION_HELP)
    mind_num_projections: int = option(1000, low=1, high=1_000_000, help=_PROJECTIONS_HELP)
    tolerance: float = option(0.0, low=0, high=1e12, help="By how much b may be worse, in each metric's own unit.")
    seed: int = option(0, **SEEDS, help=_STATISTICS_SEED_HELP)

    def __post_init__(self) -> None:
        check_options(self, "")


@dataclass(frozen=True)
class GridImageOptions:
    """The labelled picture of all of a sweep's cells that a report holds."""

    columns: str | None = option(
        None, help="The axis that lies across, such as scheduler; the others lie down. null: the first one."
    )
    num_prompts: int = option(1, low=1, high=100, help="Prompts, one below the other, of those that the page shows.")

    def __post_init__(self) -> None:
        check_options(self, "grid.")


@dataclass(frozen=True)
class RatingOptions:
    """What people are asked on a page of blind pairs; votes that are read back need its `others` and `seed` alone."""

    cells: Sequence[str] | None = option(
        None, help="Cells of the run to show, by their cell_id; null: all but those that were dropped early."
    )
    others: Sequence[str] = option(
        (), help="More runs whose cells are shown beside, each as its address, or as run#cell_id for one cell of it."
    )
    num_pairs: int = option(200, low=1, high=MANY, help="Pairs of images, at most; each shows two cells of a prompt.")
    num_repeats: int = option(
        10,
        low=0,
        high=MANY,
        help="Pairs that come again with their sides changed, at most half of all, to see how steady a rater is.",
    )
    question: str = option("Which image do you prefer?", help="What raters are asked.")
    image_format: str = option(
        "png", choices=("png", "webp", "jpeg"), help="How the page's images are encoded; png loses nothing."
    )
    seed: int = option(0, **SEEDS, help="What pairs, their order and their sides are drawn from, and resamples.")

    def __post_init__(self) -> None:
        check_options(self, "")
        if not self.question.strip():
            raise DarkroomError("question is empty; say what raters decide, or leave it out")

    def check_of_votes(self) -> None:
        """Raises DarkroomError for what is given beside votes, and is of a page."""
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name not in ("others", "seed") and value != each.default:
                raise DarkroomError(
                    f"{each.name}={value}: is of the page, and votes are read back; leave one of them out"
                )


@dataclass(frozen=True)
class CopiesOptions:
    """Where copies are looked for, and what counts as one."""

    reference: str = option(
        is_place=True,
        help="What copies may be of, such as training images: images as in evaluate, and no .npz.",
    )
    reference_endpoint_url: str | None = option(None, help=ENDPOINT_HELP)
    extractors: Sequence[str | Mapping[str, Any]] = option(
        ("demo_clip",), help="In whose spaces images are compared, as in evaluate, such as clip or dinov2."
    )
    cosine: float = option(
        0.95, low=-1, high=1, help="From which on an image counts as a copy of its nearest reference image."
    )
    num_pairs: int = option(24, low=1, high=1000, help="Nearest pairs that are listed and shown, at most.")
    seed: int = option(0, **SEEDS, help=_STATISTICS_SEED_HELP)

    def __post_init__(self) -> None:
        check_options(self, "")


@dataclass(frozen=True)
class HalvingOptions:
    """Successive halving over a sweep's cells."""

    figure: str = option(help="The figure that cells are dropped by, such as demo_clip.clip_score; null: none.")
    num_images: int = option(
        64, low=2, high=MANY, help="Images of each cell in the first round; there are twice as many in the next."
    )
    keep: float = option(0.5, low=0, high=1, help="Share of the cells that go on after a round.")

    def __post_init__(self) -> None:
        check_options(self, "halving.")
