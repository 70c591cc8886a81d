"""What a run is, as names and values for people: its cells' settings, the axes in which they differ, and facts."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import PurePosixPath

from darkroom.domain.certificates import PROMISES, Certificate
from darkroom.domain.records import OK
from darkroom.domain.settings import COMMON_AXES, IMAGE_SETTINGS, SETTINGS, UNTAKEN, ModelRef, Sampling, settings_of
from darkroom.evaluation.figures import Evaluation
from darkroom.evaluation.tables import setting_text
from darkroom.reporting.content import Axis, Setting
from darkroom.reporting.survey import CellCount, Provenance
from darkroom.runs.cells import CellInfo
from darkroom.runs.drivers import Spent
from darkroom.runs.overlays import OverlaySettings
from darkroom.runs.policy_counts import PolicyCount
from darkroom.runs.run import RunInfo
from darkroom.runs.watermarks import FOUND, NOT_FOUND, Detection, most_wrong

Facts = Iterator[tuple[str, str]]

MODEL = "model"
_DEFAULT = UNTAKEN["scheduler"]  # the model's own
_OF_MODEL = tuple(each.name for each in settings_of(ModelRef) if each.name != "repo_id")
_OF_SAMPLING = tuple(each.name for each in settings_of(Sampling) if each.name not in COMMON_AXES)
_ORDER = (*COMMON_AXES, MODEL, *_OF_SAMPLING, *_OF_MODEL)  # of settings on the page
_EMPTY = "(none)"  # of several values
_LONGEST = 48  # characters of a text on an axis

_OF_SIZE = ("height", "width")  # which have a line of their own
# Facts where all cells share them.
_SHOWN = (*COMMON_AXES, *(each.name for each in IMAGE_SETTINGS if each.name not in (*COMMON_AXES, *_OF_SIZE)))
_MOST_REASONS = 10


# Settings -------------------------------------------------------------------------------------------------------------


def settings_of_cells(cells: Mapping[str, CellInfo], run: RunInfo) -> dict[str, dict[str, Setting]]:
    """cell_id -> its settings. Long texts, which would fill plots, are cut such that different ones stay different."""
    short = {cell_id: _short_names(info.settings_in(run)) for cell_id, info in cells.items()}
    labels = {name: _labels([settings[name] for settings in short.values()]) for name in _ORDER}
    return {cell_id: {name: labels[name].get(settings[name], settings[name]) for name in _ORDER}
            for cell_id, settings in short.items()}  # fmt: skip


def naming_schedulers(settings: Mapping[str, Mapping[str, Setting]], made: Provenance) -> dict[str, dict[str, Setting]]:
    """The same, with a model's own scheduler called by its class, where records say it and one is all there is."""
    own = {scheduler_text(config)[0] for name, config in made.schedulers if name == _DEFAULT}
    names = {_DEFAULT: f"{_DEFAULT} ({own.pop()})"} if len(own) == 1 else {}
    return {
        cell_id: {**each, "scheduler": names.get(each["scheduler"], each["scheduler"])}
        for cell_id, each in settings.items()
    }


def axes_of(
    settings: Mapping[str, Mapping[str, Setting]], shown: Mapping[str, Mapping[str, Setting]]
) -> tuple[Axis, ...]:
    """The settings in which cells differ, with the values that those have which are shown, in order.

    What a model's name already decides is no axis.
    """
    cells = list(settings.values())
    varied = [name for name in _ORDER if len({cell[name] for cell in cells}) > 1]
    names = [name for name in varied if name not in _OF_MODEL or not _is_decided(name, cells)]
    return tuple(Axis(name, _in_order([cell[name] for cell in shown.values()])) for name in names)


def _short_names(settings: Mapping[str, object]) -> dict[str, Setting]:
    short = {name.split(".")[1]: value for name, value in settings.items()}
    short[MODEL] = short.pop("repo_id")
    return {name: _setting(value) for name, value in short.items()}


def _setting(value: object) -> Setting:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, int | float) else "" if value is None else str(value)


def _labels(values: Sequence[Setting]) -> dict[Setting, str]:
    """Short names of texts, where any is long; a model in a folder is called by the folder's name."""
    texts = list(dict.fromkeys(value for value in values if isinstance(value, str)))
    names = [" ".join((PurePosixPath(text).name if text.startswith("/") else text).split()) for text in texts]
    names = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in names]
    names = [name or _EMPTY for name in names] if len(names) > 1 else names
    told_apart = [
        name if names.count(name) == 1 else f"{name} ({names[: index + 1].count(name)})"
        for index, name in enumerate(names)
    ]
    return dict(zip(texts, told_apart, strict=True))


def _is_decided(name: str, cells: Sequence[Mapping[str, Setting]]) -> bool:
    return len({(cell[MODEL], cell[name]) for cell in cells}) == len({cell[MODEL] for cell in cells})


def _in_order(values: Sequence[Setting]) -> tuple[Setting, ...]:
    return tuple(sorted(set(values), key=lambda value: (isinstance(value, str), value)))


# Facts ----------------------------------------------------------------------------------------------------------------


def shared_settings(
    info: RunInfo, cells: Mapping[str, CellInfo], settings: Mapping[str, Mapping[str, Setting]]
) -> tuple[tuple[str, str], ...]:
    """What was rendered, by which models, and what all cells were rendered with. `settings`: of cells, by cell_id."""
    return (*_models(cells), *_sampling(info, cells, _shared(settings)), *_prompts(info, cells))


def facts(
    info: RunInfo,
    cells: Mapping[str, CellInfo],
    counts: Mapping[str, CellCount],
    made: Provenance,
    evaluations: Sequence[Evaluation],
    certificates: Iterable[Certificate] = (),
    spent: Spent | None = None,
    mark: Detection | None = None,
) -> tuple[tuple[str, str], ...]:
    """What became of the run, how it was made and measured; last what fixes it: revisions and digests."""
    by_status = sum((count.by_status for count in counts.values()), Counter())
    return (
        *_images(info, counts, made),
        *(_watermark(info, made, mark) if mark else ()),
        *_policy(info, counts),
        *_times(made, by_status[OK]),
        *([("cost of workers", spent.text(by_status))] if spent else []),
        *_evaluations(evaluations),
        *_promises(certificates),
        *_schedulers(made),
        *_machines(cells, made),
        *_revisions(info, cells),
    )


def num_rows_left(info: RunInfo, counts: Collection[CellCount]) -> int:
    """Prompt rows of all cells that no committed shard holds."""
    return sum(max(0, info.prompts.num_rows - count.num_rows) for count in counts)


def _prompts(info: RunInfo, cells: Mapping[str, CellInfo]) -> Facts:
    yield "prompts", f"{info.prompts.name}, {info.prompts.num_rows:,} rows"
    yield "images a prompt", ", ".join(map(str, _values(cells, info, "sampling.num_images_per_prompt")))


def _models(cells: Mapping[str, CellInfo]) -> Facts:
    for identity in dict.fromkeys(item.cell.model for item in cells.values()):
        variant = f", variant {identity.variant}" if identity.variant else ""
        yield MODEL, f"{identity.repo_id} ({identity.pipeline_class}, {identity.numbers}{variant})"
        for part in identity.parts:
            yield f"model {part.kind}", f"{part.name}, weight {part.weight:g}"


def _revisions(info: RunInfo, cells: Mapping[str, CellInfo]) -> Facts:
    for identity in dict.fromkeys(item.cell.model for item in cells.values()):
        yield "model revision", identity.revision
        for part in identity.parts:
            yield f"revision of {part.kind} {part.name}", part.revision
    yield "prompts' fingerprint", info.prompts.fingerprint


def _promises(certificates: Iterable[Certificate]) -> Facts:
    for found in certificates:
        yield "promises", f"{found.repo_id}, batches of {found.batch_size}, {found.device}: {found.summary}"
        for check in found.failed:
            yield "promise that fails", f"{PROMISES[check.promise].text}: {check.text}"


def _sampling(info: RunInfo, cells: Mapping[str, CellInfo], shared: Mapping[str, Setting]) -> Facts:
    untaken = UNTAKEN if all(item.cell.model.is_plug_in for item in cells.values()) else {}
    for name in _SHOWN:
        if shared.get(name) == untaken.get(name, shared):
            continue
        if shared.get(name, "") != "" and SETTINGS[name].does_something(shared[name]):
            yield name, setting_text(shared[name])
    sizes = {(item.cell.sampling.width, item.cell.sampling.height) for item in cells.values()}
    yield "size", ", ".join(f"{width} x {height}" for width, height in sorted(sizes))
    yield "seed", ", ".join(map(str, _values(cells, info, "sampling.seed")))


def _images(info: RunInfo, counts: Mapping[str, CellCount], made: Provenance) -> Facts:
    by_status = sum((count.by_status for count in counts.values()), Counter())
    said = ", ".join(f"{count:,} {status}" for status, count in by_status.most_common()) or "none"
    yield "images", said
    left = num_rows_left(info, counts.values())
    if left:
        yield "not rendered yet", f"{left:,} prompt rows of {len(counts)} cells; the command below goes on with them"
    if made.reasons:
        yield (
            "why images failed",
            "; ".join(f"{count:,} x {text}" for text, count in made.reasons.most_common(_MOST_REASONS)),
        )
    if made.num_truncated:
        yield (
            "truncated prompts",
            f"{made.num_truncated:,} images' prompts were longer than the text encoder reads",
        )
    if made.values["is_seeded"][False]:
        yield "seeds", "the renderer makes no promise about them: images that are rendered again are others"
    if made.render_cost:
        yield "cost", f"{made.render_cost:,g}, by the renderer's price"
    output = info.output
    quality = "".join(f", {name} {value}" for name, value in [*output.encoding.items()][1:] if value)
    yield "stored as", f"{output.image_format}{quality}, layout {output.layout}, {_size_text(made.num_bytes)}"
    if output.overlay:
        yield "text on images", f"of column {OverlaySettings.of_text(output.overlay).text}, drawn after rendering"
    if output.c2pa:
        yield "signed", "each image has a C2PA manifest"


def _watermark(info: RunInfo, made: Provenance, mark: Detection) -> Facts:
    """`mark`: how it was found in stored images just now."""
    values, text = made.values["watermark"], info.output.watermark
    told = f"; {values[NOT_FOUND]:,} do not hold it and are stored without" if values[NOT_FOUND] else ""
    yield "watermark", f"“{text}” in {values[FOUND]:,} images{told}"
    found = ", ".join(f"{count} {how}" for how, count in mark.num_found.items())
    rule = f"with at most {most_wrong(text)} of {8 * len(text)} bits wrong"
    yield f"found in {mark.num_images} stored images, drawn at random", f"{found}; {rule}, and at their own size again"


def _policy(info: RunInfo, counts: Mapping[str, CellCount]) -> Facts:
    if info.policy is None:
        return
    found = sum((count.policy for count in counts.values()), PolicyCount())
    yield "policy", str(info.policy)
    yield "accepted", str(found)
    if why := "; ".join(islice(found.why(), _MOST_REASONS)):
        yield "what the policy saw", why
    if found.rejected_s:
        yield "time on devices for rejected images", duration_text(found.rejected_s)


def scheduler_text(config: str) -> tuple[str, str]:
    """Its class, and its options in words, of a record's `scheduler_config`."""
    options = json.loads(config)
    name = options.pop("_class_name")
    return name, ", ".join(f"{key} {value}" for key, value in options.items() if value not in (None, False))


def _schedulers(made: Provenance) -> Facts:
    for name, config in sorted(made.schedulers):
        class_name, options = scheduler_text(config)
        yield f"scheduler {name} as loaded", f"{class_name}: {options}"


def _machines(cells: Mapping[str, CellInfo], made: Provenance) -> Facts:
    packages = ("darkroom", "torch", "diffusers", "openvino")
    known = {name: values for name in packages if (values := made.values[f"{name}_version"])}
    said = [f"{name} {_list(values)}" for name, values in known.items()]
    yield "versions", ", ".join(said) or "unknown"
    for name, column in {"device": "device", "batch size": "batch_size"}.items():
        if made.values[column]:
            yield name, _list(made.values[column])
    if set(made.values["dtype"]) - {item.cell.model.dtype for item in cells.values()}:
        yield "dtype in use", _list(made.values["dtype"])


def _times(made: Provenance, num_ok: int) -> Facts:
    if made.first is None or made.last is None:
        return
    span = (made.last - made.first).total_seconds()
    yield "first record", f"{made.first:%Y-%m-%d %H:%M:%S} UTC"
    if span > 0 and num_ok > made.num_first:
        rate = (num_ok - made.num_first) / span
        yield "first to last record", f"{duration_text(span)}, pauses between starts and retries included"
        yield "images/s by the clock", f"{rate:,.2f}: all but the first record's shard, over that time"
    if made.render_s > 0:
        yield (
            "time on devices",
            f"{duration_text(made.render_s)}: each batch's time divided among its images, summed",
        )
        yield (
            "images/s of a device",
            f"{made.num_timed / made.render_s:,.2f}: images over the time on devices",
        )


def _evaluations(evaluations: Sequence[Evaluation]) -> Facts:
    if not evaluations:
        yield "evaluated", "not yet"
        return
    infos = [info for evaluation in evaluations for info in evaluation.metrics.values()]
    yield "evaluated", ", ".join(dict.fromkeys(item.created_at[:16].replace("T", " ") + " UTC" for item in evaluations))
    yield "extractors", ", ".join(dict.fromkeys(info.extractor for info in infos if info.extractor))
    references = dict.fromkeys(info.compared_with for info in infos if info.reference)
    if references:
        yield "references", ", ".join(references)


def _shared(settings: Mapping[str, Mapping[str, Setting]]) -> dict[str, Setting]:
    """Those that all cells have."""
    first, *others = settings.values()
    return {name: value for name, value in first.items() if all(cell[name] == value for cell in others)}


def _values(cells: Mapping[str, CellInfo], info: RunInfo, name: str) -> list[object]:
    """That cells have, each once."""
    return list(dict.fromkeys(item.settings_in(info)[name] for item in cells.values()))


def _list(values: Counter[object]) -> str:
    """What most records have first; with their numbers where there are several."""
    if len(values) == 1:
        return str(next(iter(values)))
    return ", ".join(f"{value} ({count:,} images)" for value, count in values.most_common())


def duration_text(seconds: float) -> str:
    """Such as "11 h 42 min", "3 min 5 s" or "7.3 s"."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _size_text(num_bytes: int) -> str:
    for unit, factor in {"TB": 1e12, "GB": 1e9, "MB": 1e6}.items():
        if num_bytes >= factor:
            return f"{num_bytes / factor:.1f} {unit}"
    return f"{num_bytes / 1e3:.1f} kB"
