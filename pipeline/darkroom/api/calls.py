"""The calls of `import darkroom`: values as a person has them, turned into checked options, and one piece of work each.

Nothing is printed, no signal is handled and the process is never ended, so that they serve a script, a notebook and a
thread; what goes on is told to `progress` (`api.events`). KeyboardInterrupt comes out as it is: what was committed
stays, and the same call goes on.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from darkroom.api import run as runs
from darkroom.api.annotations import Count, checks_arguments, options_of
from darkroom.api.arguments import (
    Engine,
    Evaluate,
    OnInvalid,
    Policy,
    Prompts,
    engine_options,
    evaluation_options,
    model_ref,
    policy_rules,
    prompts_of,
    takes_settings,
)
from darkroom.api.checking import Request
from darkroom.api.evaluation_options import (
    ComparisonOptions,
    CopiesOptions,
    EvaluationOptions,
    GridImageOptions,
    HalvingOptions,
    RatingOptions,
)
from darkroom.api.events import Progress, silent
from darkroom.api.export_options import ExportOptions
from darkroom.api.output_options import C2paOptions, OutputOptions, OverlayOptions, WatermarkOptions
from darkroom.api.rewrite_options import REWRITES
from darkroom.api.run import Run
from darkroom.domain.errors import DarkroomError
from darkroom.domain.process import import_whole
from darkroom.domain.setting_values import check_beside_axes, sampling_defaults, with_settings
from darkroom.domain.settings import ModelRef, Value
from darkroom.engine.planning import Grid

if TYPE_CHECKING:
    from darkroom.api.comparison import Comparison
    from darkroom.api.copies import Copies
    from darkroom.api.exporting import Export
    from darkroom.api.measuring import EvaluationResult
    from darkroom.api.planning import Plan
    from darkroom.api.pushing import Push
    from darkroom.api.rating import Ratings
    from darkroom.api.rating_page import RatingPage
    from darkroom.api.rendering import RenderResult
    from darkroom.api.reporting import Report
    from darkroom.api.rewriting import Rewrites
    from darkroom.domain.certificates import Certificate


@takes_settings
@checks_arguments
def generate(
    prompts: Any,
    *,
    model: str | Path | ModelRef = "demo",
    out: str | Path | None = None,
    engine: Engine = "local",
    evaluate: Evaluate = None,
    policy: Policy = (),
    progress: Progress | None = None,
    layout: Literal["files", "webdataset", "parquet"] = "files",
    image_format: Literal["png", "webp", "jpeg"] = "png",
    quality: int = 95,
    video_format: Literal["mp4", "webm", "webp", "gif", "zip"] = "mp4",
    crf: int | None = None,
    provenance: bool = True,
    trajectory: bool = False,
    trajectory_prompts: Count = 4,
    trajectory_steps: Sequence[int] | None = None,
    overlay: OverlayOptions | Mapping[str, Any] | None = None,
    watermark: str | None = None,
    c2pa: C2paOptions | Mapping[str, Any] | None = None,
    endpoint_url: str | None = None,
    on_invalid: OnInvalid = "fail",
    columns: Mapping[str, str | None] | None = None,
    prompts_endpoint_url: str | None = None,
    grow: bool = False,
    **settings: Any,
) -> Run:
    """Render prompts into a run at `out`, and give the run; what is committed there already is not rendered again.

    prompts: a path, glob or s3:// address; a list of texts or dicts, an iterator of such, a DataFrame, an Arrow table;
        "demo". Of dicts and tables only `prompt` is needed; seed, negative_prompt, ... win over the call's own.
    model: a preset (demo, sd15, sdxl, paint), a hub id, a local folder, or a renderer of one's own as my_module:make.
    out: a folder or an s3:// address; None: runs/<name>-<digest of what is asked for>.
    grow: let a run at `out` that has some of these rows grow by the others.
    engine: "local" (one worker in this process), "ray", EngineOptions or a dict of them.
    evaluate: True, EvaluationOptions or a dict of them: measure images while they are in memory. What was
        found is the run's `evaluation`: its `is_good` says whether every figure lies where `expect` wants it.
    policy: what becomes of images by their scores, as PolicyRule or dicts of them: {"figure": "demo_clip.clip_score",
        "below": 0.6, "then": "regenerate"}, {"keep": 1, "of": 4, "by": "clip_score"}. Scores are those of `evaluate`'s
        extractors, or of demo_clip.
    trajectory: store how the first `trajectory_prompts` prompts' first images form, at `trajectory_steps`.
    overlay: text on images by columns of the prompts, such as {"text": "slogan", "default_font": "bold.ttf"}.
    watermark: a few letters of an invisible mark in each image.
    c2pa: a signed manifest of each image, such as {"certificate": "chain.pem", "private_key": "key.pem"}.
    settings: those of sampling and model by their names, such as guidance_scale=5.

    Raises DarkroomError for what cannot be rendered as asked, and StoreError where the store fails. Images and shards
    that failed are in the run: `run.failures`, `run.status()`; the same call tries shards that are missing again.
    """
    import_whole("darkroom.api.rendering")
    from darkroom.api.rendering import render

    source = replace(prompts_of(prompts, on_invalid, columns, prompts_endpoint_url), grow=grow)
    output = OutputOptions(
        _text(out), endpoint_url, layout, image_format, quality, provenance,
        video_format=video_format, crf=crf,
        trajectory=trajectory, trajectory_prompts=trajectory_prompts, trajectory_steps=trajectory_steps,
        **_after_rendering(overlay, watermark, c2pa),
    )  # fmt: skip
    request = _request(source, model, settings, output, engine, evaluate, policy)
    return _run_of(render(request, progress or silent))


@takes_settings
@checks_arguments
def sweep(
    prompts: Any,
    *,
    axes: Mapping[str, Sequence[Any] | str] | None = None,
    cells: Sequence[Mapping[str, Any]] = (),
    mode: Literal["product", "zip"] = "product",
    exclude: Sequence[Mapping[str, Value | Sequence[Value]]] = (),
    num_cells: Count | None = None,
    draw_seed: int = 0,
    halving: HalvingOptions | Mapping[str, Any] | None = None,
    model: str | Path | ModelRef = "demo",
    out: str | Path | None = None,
    engine: Engine = "local",
    evaluate: Evaluate = None,
    policy: Policy = (),
    progress: Progress | None = None,
    layout: Literal["files", "webdataset", "parquet"] = "files",
    image_format: Literal["png", "webp", "jpeg"] = "png",
    quality: int = 95,
    video_format: Literal["mp4", "webm", "webp", "gif", "zip"] = "mp4",
    crf: int | None = None,
    provenance: bool = True,
    trajectory: bool = False,
    trajectory_prompts: Count = 4,
    trajectory_steps: Sequence[int] | None = None,
    overlay: OverlayOptions | Mapping[str, Any] | None = None,
    watermark: str | None = None,
    c2pa: C2paOptions | Mapping[str, Any] | None = None,
    endpoint_url: str | None = None,
    on_invalid: OnInvalid = "fail",
    columns: Mapping[str, str | None] | None = None,
    prompts_endpoint_url: str | None = None,
    grow: bool = False,
    **settings: Any,
) -> Run:
    """Render the prompts in every cell of a grid, with the same noise in each; a grid that grows renders new cells.

    axes: settings with their values, such as {"guidance_scale": [1, 4, 8]}: every combination of them, or with
        mode="zip" the first values, the second values, ... Models are an axis as repo_id: presets, hub ids, folders.
        Numbers also as ranges: "1-4", "1-10 (+2)" by a step, "1-10 [4]" for so many values from end to end.
    cells: more cells, each as its settings; exclude: a cell that matches all of one is left out.
    num_cells: so many of them, drawn at random by `draw_seed`.
    halving: drop the worst cells early by one figure, which needs `evaluate`.

    All else is as in `generate`.
    """
    import_whole("darkroom.api.rendering")
    from darkroom.api.rendering import render

    source = replace(prompts_of(prompts, on_invalid, columns, prompts_endpoint_url), grow=grow)
    output = OutputOptions(
        _text(out), endpoint_url, layout, image_format, quality, provenance,
        video_format=video_format, crf=crf,
        trajectory=trajectory, trajectory_prompts=trajectory_prompts, trajectory_steps=trajectory_steps,
        **_after_rendering(overlay, watermark, c2pa),
    )  # fmt: skip
    request = _request(source, model, settings, output, engine, evaluate, policy)
    grid = Grid(axes or {}, mode, cells, exclude, num_cells, draw_seed)
    if not cells:  # which may have no value of their own
        check_beside_axes(_given(request, model, settings), grid.axes)
    halving = None if halving is None else options_of(HalvingOptions, halving, "halving")
    return _run_of(render(replace(request, grid=grid, halving=halving), progress or silent))


@takes_settings
@checks_arguments
def plan(
    prompts: Any,
    *,
    model: str | Path | ModelRef = "demo",
    out: str | Path | None = None,
    engine: Engine = "local",
    evaluate: Evaluate = None,
    policy: Policy = (),
    progress: Progress | None = None,
    layout: Literal["files", "webdataset", "parquet"] = "files",
    image_format: Literal["png", "webp", "jpeg"] = "png",
    quality: int = 95,
    video_format: Literal["mp4", "webm", "webp", "gif", "zip"] = "mp4",
    crf: int | None = None,
    provenance: bool = True,
    trajectory: bool = False,
    trajectory_prompts: Count = 4,
    trajectory_steps: Sequence[int] | None = None,
    overlay: OverlayOptions | Mapping[str, Any] | None = None,
    watermark: str | None = None,
    c2pa: C2paOptions | Mapping[str, Any] | None = None,
    endpoint_url: str | None = None,
    on_invalid: OnInvalid = "fail",
    columns: Mapping[str, str | None] | None = None,
    prompts_endpoint_url: str | None = None,
    grow: bool = False,
    report: str | Path | None = None,
    words: str | Path | None = None,
    **settings: Any,
) -> "Plan":
    """Check everything and say what `generate` would make and cost, from real batches; nothing is stored.

    report: a page (.html), and JSON beside it, of what the prompts are like; words: a file of words to look for.
    """
    import_whole("darkroom.api.planning")
    from darkroom.api import planning

    source = replace(prompts_of(prompts, on_invalid, columns, prompts_endpoint_url), grow=grow)
    output = OutputOptions(
        _text(out), endpoint_url, layout, image_format, quality, provenance,
        video_format=video_format, crf=crf,
        trajectory=trajectory, trajectory_prompts=trajectory_prompts, trajectory_steps=trajectory_steps,
        **_after_rendering(overlay, watermark, c2pa),
    )  # fmt: skip
    asked = _request(source, model, settings, output, engine, evaluate, policy)
    return planning.plan(asked, progress or silent, report=_text(report), words=_text(words))


@checks_arguments
def rewrite(
    prompts: Any,
    to: str | Path,
    *,
    rewrite: Literal["transformers", "openai"] = "transformers",
    progress: Progress | None = None,
    to_endpoint_url: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    prompts_endpoint_url: str | None = None,
    **options: Any,
) -> "Rewrites":
    """Let a language model make prompts richer, and write them with their originals as Parquet, a file each of so many
    rows: prompts for `generate`. What is there already stays; the same call goes on.

    prompts: as in `generate`. to: an empty folder or s3:// address, or one that the same call began.
    rewrite: "transformers" (a model on this machine) or "openai" (a server with OpenAI's chat completions API).
    options: those of TransformersRewriteOptions or OpenAIRewriteOptions, such as model="Qwen/Qwen2.5-1.5B-Instruct",
        num_rewrites=2, advice={"light": ["dawn", "neon"]}, or model="tiny", base_url="http://127.0.0.1:8000/v1".

    Raises DarkroomError, before a prompt is asked about, for what cannot be rewritten as asked.
    """
    import_whole("darkroom.api.rewriting")
    from darkroom.api import rewriting

    source = prompts_of(prompts, "fail", columns, prompts_endpoint_url)
    chosen = options_of(REWRITES[rewrite], options, "rewrite")
    return rewriting.rewrite(source, _text(to) or "", chosen, to_endpoint_url, progress or silent)


@takes_settings
@checks_arguments
def prove(
    *,
    model: str | Path | ModelRef = "demo",
    engine: Engine = "local",
    progress: Progress | None = None,
    **settings: Any,
) -> "Certificate":
    """Test a model by a few small calls on this machine's device, and say which promises hold for it.

    The certificate is kept in the user's cache, where later plans and renderings of the same model find it: by its
    `may_mix` and `may_batch` they render such that each image stands alone. Nothing else is stored.
    """
    import_whole("darkroom.api.proving")
    from darkroom.api import proving

    ref, sampling = _model_and_sampling(model, settings)
    return proving.prove(ref, sampling, engine_options(engine), progress or silent).certificate


@checks_arguments
def open_run(uri: str | Path | Run, *, endpoint_url: str | None = None) -> Run:
    """The run at a folder or an s3:// address. Raises DarkroomError where there is none."""
    return runs.open_run(uri if isinstance(uri, Run) else _text(uri) or "", endpoint_url)


@checks_arguments
def evaluate(
    run: str | Path | Run,
    *,
    engine: Engine = "local",
    progress: Progress | None = None,
    endpoint_url: str | None = None,
    **options: Any,
) -> "EvaluationResult":
    """Measure every cell of a run, and store the figures beside it; features that are there already are kept.

    options: those of EvaluationOptions, such as reference="demo", extractors=["clip"], metrics=["clip.kid"]; of several
    references, as {"coco": "s3://data/coco", "mine": "photos"}, each has figures of its own, such as clip.kid@coco.
    """
    import_whole("darkroom.api.measuring")
    from darkroom.api.measuring import evaluate

    found = open_run(run, endpoint_url=endpoint_url)
    chosen = options_of(EvaluationOptions, options, "evaluate")
    return evaluate(found, chosen, engine_options(engine), progress or silent)


@checks_arguments
def compare(
    a: str | Path | Run,
    b: str | Path | Run,
    *,
    a_cell: str | None = None,
    b_cell: str | None = None,
    progress: Progress | None = None,
    endpoint_url: str | None = None,
    **options: Any,
) -> "Comparison":
    """Whether b's images are worse than a's, image by image; both must be evaluated. `worse` names the metrics.

    a_cell, b_cell: which cell of a run that has several (its cell_id); an address may say it as uri#cell_id.
    options: those of ComparisonOptions, such as metrics=["demo_clip.clip_score"], tolerance=0.01.
    """
    import_whole("darkroom.api.comparison")
    from darkroom.api import comparison

    chosen = options_of(ComparisonOptions, options, "compare")
    first, second = (each if isinstance(each, Run) else _text(each) or "" for each in (a, b))
    cells = comparison.compared_cells(first, second, endpoint_url, a_cell, b_cell)
    return comparison.compare(*cells, chosen, progress or silent)


@checks_arguments
def report(
    run: str | Path | Run,
    *,
    out: str | Path | None = None,
    num_prompts: Count = 24,
    grid: Mapping[str, Any] | None = None,
    words: str | Path | None = None,
    endpoint_url: str | None = None,
) -> "Report":
    """Write the page that shows a run as it is now: figures by cell, curves, contact sheets, picks, failures.

    out: a folder or an s3:// address; None: report/ under the run. num_prompts: shown in every cell, at most.
    grid: of grid.png, all cells in one labelled picture, such as {"columns": "scheduler", "num_prompts": 3}.
    words: a file of words that are looked for in the prompts, one a line.
    Raises DarkroomError where nothing is committed, and for a folder that holds somebody else's files of these names.
    """
    import_whole("darkroom.api.reporting")
    from darkroom.api import reporting

    given, place = run if isinstance(run, Run) else _text(run) or "", _text(out)
    for_run, for_out = runs.endpoints(endpoint_url, given, place)
    options = options_of(GridImageOptions, grid or {}, "grid")
    opened = runs.open_run(given, for_run)
    return reporting.write_report(opened, place, for_out if place else None, num_prompts, options, _text(words))


@overload
def rate(
    run: str | Path | Run,
    *,
    votes: None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    endpoint_url: str | None = None,
    votes_endpoint_url: str | None = None,
    **options: Any,
) -> "RatingPage": ...


@overload
def rate(
    run: str | Path | Run,
    *,
    votes: Sequence[str | Path],
    out: str | Path | None = None,
    progress: Progress | None = None,
    endpoint_url: str | None = None,
    votes_endpoint_url: str | None = None,
    **options: Any,
) -> "Ratings": ...


@checks_arguments
def rate(
    run: str | Path | Run,
    *,
    votes: Sequence[str | Path] | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    endpoint_url: str | None = None,
    votes_endpoint_url: str | None = None,
    **options: Any,
) -> "RatingPage | Ratings":
    """Write a page of blind pairs of a run's cells for people to choose from, or read their votes back.

    votes: files that raters downloaded from the page, folders or globs of such; they are stored with the run, and all
        votes that it holds are counted, with [] those alone. None: write the page.
    out: where the page goes, a folder or an s3:// address; None: its own folder under the run.
    options: those of RatingOptions, such as num_pairs=400, others=["runs/other"].
    """
    import_whole("darkroom.api.rating")
    from darkroom.api import rating

    chosen = options_of(RatingOptions, options, "rate")
    given, place = run if isinstance(run, Run) else _text(run) or "", _text(out)
    return rating.rate(
        given, chosen, [_text(each) or "" for each in votes] if votes is not None else None, place, endpoint_url,
        votes_endpoint_url, progress or silent,
    )  # fmt: skip


@checks_arguments
def find_copies(
    run: str | Path | Run,
    reference: str | Path,
    *,
    progress: Progress | None = None,
    endpoint_url: str | None = None,
    **options: Any,
) -> "Copies":
    """Images of an evaluated run that are nearest to a reference's, such as those that its model was trained on.

    options: those of CopiesOptions, such as extractors=["clip"], cosine=0.9.
    """
    import_whole("darkroom.api.copies")
    from darkroom.api.copies import find_copies

    found = open_run(run, endpoint_url=endpoint_url)
    chosen = options_of(CopiesOptions, {"reference": _text(reference), **options}, "find_copies")
    return find_copies(found, chosen, progress or silent)


@checks_arguments
def export(
    run: str | Path | Run,
    to: str | Path,
    *,
    engine: Engine = "local",
    progress: Progress | None = None,
    endpoint_url: str | None = None,
    to_endpoint_url: str | None = None,
    **options: Any,
) -> "Export":
    """Hand a run over as a dataset, or several: numbered shards, a card, and the sums of all files. The same call goes
    on.

    to: an empty folder or s3:// address, or one that the same call began.
    engine: "local" (this process), "ray" (shards are written by workers), EngineOptions or a dict of them.
    options: those of ExportOptions, such as layout="webdataset", where="guidance_scale > 3", others=["runs/other"],
        splits={"train": 0.9, "validation": 0.1}, dedup="pixels", license="cc-by-4.0".

    Raises DarkroomError, before anything is written, for what cannot be exported as asked; and for an image that is not
    what was committed.
    """
    import_whole("darkroom.api.exporting")
    from darkroom.api import exporting

    chosen = options_of(ExportOptions, options, "export")
    given = run if isinstance(run, Run) else _text(run) or ""
    return exporting.export(
        given, _text(to) or "", chosen, engine_options(engine), endpoint_url, to_endpoint_url, progress or silent
    )


@checks_arguments
def push(
    dataset: str | Path,
    repo_id: str,
    *,
    private: bool = True,
    replace: bool = False,
    progress: Progress | None = None,
    endpoint_url: str | None = None,
) -> "Push":
    """Upload a dataset that was exported to a repository of the Hugging Face hub; the same call goes on.

    repo_id: such as "someone/circles"; it is made where it is not there. private: seen by its owner alone; a repository
        that is there must be so. replace: remove its files that are not of this dataset; else they are refused.

    The token is that of the environment (HF_TOKEN). Raises DarkroomError for what the hub refuses, before anything is
    uploaded where that can be told.
    """
    import_whole("darkroom.api.pushing")
    from darkroom.api import pushing

    return pushing.push(_text(dataset) or "", repo_id, private, replace, endpoint_url, progress or silent)


# From what a person gives to options -------------------------------------------------------------------------------


def _request(
    prompts: Prompts,
    model: str | Path | ModelRef,
    settings: Mapping[str, Any],
    output: OutputOptions,
    engine: Engine,
    evaluate: Evaluate = None,
    policy: Policy = (),
) -> Request:
    ref, sampling = _model_and_sampling(model, settings)
    measured, rules = evaluation_options(evaluate), policy_rules(policy)
    return Request(prompts, ref, sampling, output, engine_options(engine), measured, policy=rules)


def _after_rendering(
    overlay: OverlayOptions | Mapping[str, Any] | None,
    watermark: str | None,
    c2pa: C2paOptions | Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Options of output by their names."""
    return {
        "overlay": options_of(OverlayOptions, overlay or {}, "overlay"),
        "watermark": WatermarkOptions(watermark),
        "c2pa": options_of(C2paOptions, c2pa or {}, "c2pa"),
    }


def _model_and_sampling(model: str | Path | ModelRef, settings: Mapping[str, Any]) -> tuple[ModelRef, dict[str, Value]]:
    named = model_ref(model)
    if "repo_id" in settings and named.repo_id:
        raise DarkroomError("repo_id: name the model as model=..., a preset, a hub id or a folder")
    return with_settings(named, sampling_defaults(), settings)


def _given(request: Request, model: str | Path | ModelRef, settings: Mapping[str, Any]) -> dict[str, Value]:
    """The values that a caller says of settings; of a ModelRef all but its name, which the cells of an axis have."""
    said = settings.keys() | (vars(request.model).keys() - {"repo_id"} if isinstance(model, ModelRef) else set())
    return {name: value for name, value in {**vars(request.model), **request.sampling}.items() if name in said}


def _run_of(result: "RenderResult") -> Run:
    return replace(result.run, evaluation=result.evaluation)


def _text(place: str | Path | None) -> str | None:
    if place is not None and not isinstance(place, str | PathLike):
        raise DarkroomError(f"{place!r} is {type(place).__name__}; give a folder or an address, as text or as a Path")
    return None if place is None else os.fsdecode(place)
