"""Every metric there is: its name, its definition, and the function that measures it."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation import inputs
from darkroom.evaluation.figures import AGAINST, RATERS, kind_of, reference_of
from darkroom.evaluation.inputs import DUPLICATE_COSINE, MOST_COMPARED, NEAREST_K, Measured, MetricInputs
from darkroom.evaluation.reference_free import named_convention
from darkroom.evaluation.sliced_wasserstein import NUM_PROJECTIONS
from darkroom.runs.features import ExtractorInfo

INCEPTION = "inception_v3"

_FIXED = "; the reference is taken as fixed"
_OF_DELETION = (
    "95 % of Student's of the logarithm of what is a squared distance, from the figures without each prompt's images, "
    "wider for their skew"
)
_OF_DERIVATIVE = _OF_DELETION.replace("figures without each prompt's images", "images' influences added up by prompt")
_OF_MEAN = "95 % of Student's of the mean over images, added up by prompt, wider for their skew; Wilson's of a share"
_OF_SHARE = "95 % of Wilson's, of as many draws as vary as prompts do"
_NO_RESAMPLES = "none: a resample repeats images, and a repeated image is its own nearest neighbour"
_NEIGHBOURS = f"k = {NEAREST_K}, as prdc"


@dataclass(frozen=True)
class Definition:
    """One metric. What it needs beside the images' features is said by its flags and `extractors`."""

    title: str  # for people
    higher_is_better: bool
    convention: str  # formula, scale and source
    interval: str  # what low and high are, or why there are none
    measure: Callable[[MetricInputs], Measured]
    needs_reference: bool = True
    needs_reference_features: bool = False  # each image is compared with each, of MOST_COMPARED a set at most
    compares_own: bool = False  # so are the images among themselves
    is_even: bool = False  # as many images of either set as the smaller one has
    needs_captions: bool = False
    of_joint_space: bool = False  # of extractors that put captions into the pictures' space
    of_all: bool = False  # of all images, however many; the others of those that are held in memory
    of_scores: bool = False  # of pictures' own scores, and not of features
    of_images: bool = False  # the mean of single images' scores
    column: int | None = None  # of a scorer's features, that it is the mean of
    has_interval: bool = True
    default: bool = True  # measured where nobody names metrics
    lowest: float = -math.inf  # value there can be: where an interval is cut
    extractors: tuple[str, ...] = ()  # those that it is defined for; empty: all
    images_a_dimension: int = 0  # of fewer its bias, which differs from model to model, is what ranks them

    @property
    def is_compared(self) -> bool:
        return self.needs_reference_features or self.compares_own

    def fewest_ranked(self, dimension: int) -> int:
        """Images of features of this dimension that it takes to tell a better model from a worse one."""
        return self.images_a_dimension * dimension


_FRECHET = Definition(
    title="Fréchet distance",
    higher_is_better=False,
    convention="|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), ddof 1; Dowson and Landau 1982, Heusel et al. 2017",
    interval=_OF_DELETION + _FIXED,
    measure=inputs.measure_frechet,
    of_all=True,
    lowest=0.0,
    images_a_dimension=2,
)
_FRECHET_INFINITY = Definition(
    title="Fréchet distance∞",
    higher_is_better=False,
    convention="the Fréchet distance over 1 / N, fitted by a line at 15 sizes and read at 0; Chong and Forsyth 2020",
    interval="none: its subsets share images, so the line's own error says too little",
    measure=inputs.measure_frechet_infinity,
    has_interval=False,
    default=False,
    images_a_dimension=2,
)
CATALOGUE: Mapping[str, Definition] = {
    "fid": replace(_FRECHET, title="FID", extractors=(INCEPTION,)),
    "fid_infinity": replace(_FRECHET_INFINITY, title="FID∞", extractors=(INCEPTION,)),
    "frechet": _FRECHET,
    "frechet_infinity": _FRECHET_INFINITY,
    "kid": Definition(
        title="KID",
        higher_is_better=False,
        convention="unbiased MMD^2 over all pairs of different prompts, as far as these are known, kernel "
        "(x . y / d + 1)^3, not scaled; Binkowski et al. 2018",
        interval=_OF_DELETION + _FIXED,
        measure=inputs.measure_kid,
        needs_reference_features=True,
    ),
    "cmmd": Definition(
        title="CMMD",
        higher_is_better=False,
        convention="1000 MMD^2 of features of unit length over pairs of different prompts, as far as these are known, "
        "Gaussian kernel, sigma 10; Jayasumana et al. 2024",
        interval=_OF_DELETION + _FIXED,
        measure=inputs.measure_cmmd,
        needs_reference_features=True,
        of_joint_space=True,
    ),
    "mind": Definition(
        title="MIND",
        higher_is_better=False,
        convention="3 d times the squared 2-Wasserstein distance of the features projected on {num_projections} random "
        "directions, their mean, of as many images of either set; Berthet et al. 2026",
        interval=f"{_OF_DERIVATIVE}; the reference and the directions are taken as fixed",
        measure=inputs.measure_mind,
        needs_reference_features=True,
        is_even=True,
        default=False,
        lowest=0.0,
    ),
    "precision": Definition(
        title="Precision",
        higher_is_better=True,
        convention=f"share of images in a reference image's neighbourhood; {_NEIGHBOURS}; Kynkäänniemi et al. 2019",
        interval=_OF_SHARE + _FIXED,
        measure=inputs.measure_precision,
        needs_reference_features=True,
    ),
    "recall": Definition(
        title="Recall",
        higher_is_better=True,
        convention=f"share of reference images in an image's neighbourhood; {_NEIGHBOURS}; Kynkäänniemi et al. 2019",
        interval=_NO_RESAMPLES,
        measure=inputs.measure_recall,
        needs_reference_features=True,
        has_interval=False,
    ),
    "density": Definition(
        title="Density",
        higher_is_better=True,
        convention=f"reference neighbourhoods an image lies in, over {NEAREST_K}; {_NEIGHBOURS}; Naeem et al. 2020",
        interval=_OF_MEAN + _FIXED,
        measure=inputs.measure_density,
        needs_reference_features=True,
    ),
    "coverage": Definition(
        title="Coverage",
        higher_is_better=True,
        convention=f"share of reference images whose neighbourhood holds an image; {_NEIGHBOURS}; Naeem et al. 2020",
        interval=_NO_RESAMPLES,
        measure=inputs.measure_coverage,
        needs_reference_features=True,
        has_interval=False,
    ),
    "authenticity": Definition(
        title="Authenticity",
        higher_is_better=True,
        convention="share of images farther from their nearest reference image than that is from its own nearest; "
        "AuthPct / 100, Alaa et al. 2022",
        interval=_OF_SHARE + _FIXED,
        measure=inputs.measure_authenticity,
        needs_reference_features=True,
        default=False,
        lowest=0.0,
    ),
    "near_duplicates": Definition(
        title="Near-duplicates",
        higher_is_better=False,
        convention=f"share of images with another of the cell at a cosine of {DUPLICATE_COSINE} or more; SemDeDup, "
        "Abbas et al. 2023; grows with the number of images",
        interval=f"{_OF_SHARE}; the images that each is compared with are taken as fixed",
        measure=inputs.measure_near_duplicates,
        needs_reference=False,
        compares_own=True,
        default=False,
        lowest=0.0,
    ),
    "vendi": Definition(
        title="Vendi score",
        higher_is_better=True,
        convention="effective number of different images, cosine kernel, order 1; Friedman and Dieng 2023",
        interval=_OF_DELETION.replace("what is a squared distance", "its logarithm"),
        measure=inputs.measure_vendi,
        needs_reference=False,
        lowest=1.0,
    ),
    "prompt_diversity": Definition(
        title="Prompt diversity",
        higher_is_better=True,
        convention="mean over prompts of 1 - cos over the pairs of a prompt's images; distance of Fu et al. 2023",
        interval=_OF_MEAN,
        measure=inputs.measure_prompt_diversity,
        needs_reference=False,
        default=False,
        lowest=0.0,
    ),
    "clip_score": Definition(
        title="CLIP score",
        higher_is_better=True,
        convention="",  # of reference_free.CLIP_CONVENTIONS, as the caller chooses
        interval=_OF_MEAN,
        measure=inputs.measure_clip_score,
        needs_reference=False,
        needs_captions=True,
        of_images=True,
        of_all=True,
        of_joint_space=True,
    ),
    "score": Definition(
        title="Mean score",
        higher_is_better=True,
        convention="mean of the scorer's own scores of single images",
        interval=_OF_MEAN,
        measure=inputs.measure_mean_score,
        needs_reference=False,
        of_images=True,
        of_all=True,
        of_scores=True,
    ),
    "inception_score": Definition(
        title="Inception score",
        higher_is_better=True,
        convention="exp of the mean divergence of p(class | image) from p(class), mean of 10 splits in random order; "
        "Salimans et al. 2016",
        interval="none: the deviation over splits, which papers state, is not the score's own",
        measure=inputs.measure_inception_score,
        needs_reference=False,
        has_interval=False,
        default=False,
        extractors=(INCEPTION,),
    ),
}
_INCEPTION_NAMES = {"frechet": "fid", "frechet_infinity": "fid_infinity"}  # what they are called of its features


def definition(name: str, extractor: ExtractorInfo) -> Definition:
    """Of a metric of `metrics_for`, against whichever reference: a scorer's scores are each the mean of one feature."""
    if not extractor.is_scorer:
        return CATALOGUE[kind_of(name)]
    column, score = next(pair for pair in enumerate(extractor.named_scores) if pair[1].name == name)
    mean = CATALOGUE["score"]
    return replace(
        mean,
        title=mean.title if name == "score" else f"Mean {name}",
        higher_is_better=score.higher_is_better,
        measure=partial(inputs.measure_mean_score, column=column),
        column=column,
    )


def check_scores(extractor: ExtractorInfo) -> None:
    """Refuse an extractor whose figures would be taken for another metric's."""
    if extractor.called == RATERS:
        raise DarkroomError(f"extractor {RATERS}: figures of people's votes are called so; give it an alias")
    for score in extractor.scores:
        if score.name in CATALOGUE and not CATALOGUE[score.name].of_scores:
            raise DarkroomError(
                f"extractor {extractor.called}: its score {score.name} is called as a metric of features; call it "
                "otherwise"
            )


def default_metrics(extractor: ExtractorInfo, references: Collection[str]) -> list[str]:
    """Names of the metrics that are measured where nobody names any: those that the extractor is made for.

    `references`: names of those that there are, "" for one without a name; without any, no metric that needs one.
    """
    names = [name for name in metrics_for(extractor) if definition(name, extractor).default]
    having = [name for name in names if references or not definition(name, extractor).needs_reference]
    return [full for name in having for full in _full_names(name, extractor, references)]


def checked_metrics(metrics: Sequence[str], extractor: ExtractorInfo, references: Collection[str] = ("",)) -> list[str]:
    """The same names, each once, as the extractor calls them. A DarkroomError for one that is not known or not for it.

    Names stand without their extractor; `frechet` of inception_v3 is `fid`. Against each of several references one
    that names none.
    """
    for name in metrics:
        if _name_for(name, extractor) not in metrics_for(extractor):
            can = ", ".join(metrics_for(extractor))
            raise DarkroomError(
                f"metrics: {name} is not defined for {extractor.called}; of its features there are {can}"
            )
    return list(dict.fromkeys(full for name in metrics for full in _full_names(name, extractor, references)))


def metrics_by_extractor(
    metrics: Sequence[str], extractors: Sequence[ExtractorInfo], references: Collection[str] = ("",)
) -> dict[str, list[str]]:
    """Extractor's name -> names of its metrics, of names such as `clip.kid`, or `kid` for all that have it.

    Against each of several references those that name none. A DarkroomError for a name that no extractor has, and for
    an extractor that is left with none.
    """
    found: dict[str, dict[str, None]] = {extractor.called: {} for extractor in extractors}
    for text in metrics:
        of_extractor, _, name = text.rpartition(".")
        having = [
            extractor
            for extractor in extractors
            if of_extractor in ("", extractor.called) and _name_for(name, extractor) in metrics_for(extractor)
        ]
        if not having:
            can = ", ".join(f"{extractor.called}.{one}" for extractor in extractors for one in metrics_for(extractor))
            raise DarkroomError(f"metrics: no {text!r} of these extractors; there are {can}")
        for extractor in having:
            found[extractor.called] |= dict.fromkeys(checked_metrics([name], extractor, references))
    for extractor in extractors:
        if not found[extractor.called]:
            can = ", ".join(metrics_for(extractor))
            raise DarkroomError(
                f"extractors: none of the metrics named is of {extractor.called}; leave it out, or name one of its: "
                f"{can}"
            )
    return {name: list(chosen) for name, chosen in found.items()}


def metrics_for(extractor: ExtractorInfo) -> list[str]:
    """All that are defined for an extractor, by the names that it calls them."""
    if extractor.is_scorer:
        return [score.name for score in extractor.named_scores]
    return [
        name
        for name, found in CATALOGUE.items()
        if not found.of_scores
        and not (extractor.name == INCEPTION and name in _INCEPTION_NAMES)
        and (not found.extractors or extractor.name in found.extractors)
        and (not found.of_joint_space or extractor.reads_captions)
    ]


def convention(found: Definition, clip_convention: str, num_projections: int = NUM_PROJECTIONS) -> str:
    """Formula, scale and source. A DarkroomError for a convention of the CLIP score that is not known."""
    words = named_convention(clip_convention).words
    if found.needs_captions:
        return f"{clip_convention}: {words}"
    if found.is_compared:
        said = found.convention.format(num_projections=f"{num_projections:,}")
        return f"{said}; at most {MOST_COMPARED:,} images a side"
    return found.convention


def _name_for(metric: str, extractor: ExtractorInfo) -> str:
    """Without its reference."""
    kind = kind_of(metric)
    return _INCEPTION_NAMES.get(kind, kind) if extractor.name == INCEPTION else kind


def _full_names(metric: str, extractor: ExtractorInfo, references: Collection[str]) -> list[str]:
    """Of a known metric: with the reference that it names, or with each that there is."""
    kind, named = _name_for(metric, extractor), reference_of(metric)
    known = [name for name in references if name]
    if not named:
        needs_name = definition(kind, extractor).needs_reference and known
        return [f"{kind}{AGAINST}{name}" for name in known] if needs_name else [kind]
    if not definition(kind, extractor).needs_reference:
        raise DarkroomError(f"metrics: {metric}: {kind} is against no reference; leave {AGAINST}{named} out")
    if named not in known:
        there = f"there are {', '.join(known)}" if known else f"none has a name; leave {AGAINST}{named} out"
        raise DarkroomError(f"metrics: {metric}: no reference is called {named}; {there}")
    return [f"{kind}{AGAINST}{named}"]
