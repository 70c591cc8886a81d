"""What a run is and how it was made, as names and values for people. Knows no page."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from darkroom.domain.records import OK
from darkroom.domain.settings import COMMON_AXES, IMAGE_SETTINGS, SETTINGS
from darkroom.metrics.figures import Evaluation
from darkroom.metrics.tables import setting_text
from darkroom.reporting.content import Setting
from darkroom.reporting.settings import MODEL
from darkroom.reporting.survey import CellCount, Making
from darkroom.runs.cells import CellInfo
from darkroom.runs.run import RunInfo

Facts = Iterator[tuple[str, str]]
_OF_SIZE = ("height", "width")  # which have a line of their own
# Where all cells share them.
_SHOWN = (*COMMON_AXES, *(each.name for each in IMAGE_SETTINGS if each.name not in (*COMMON_AXES, *_OF_SIZE)))
_MOST_REASONS = 10


def facts(
    info: RunInfo,
    cells: Mapping[str, CellInfo],
    shared: Mapping[str, Setting],
    counts: Mapping[str, CellCount],
    making: Making,
    evaluations: Sequence[Evaluation],
) -> tuple[tuple[str, str], ...]:
    """What fixes the run, then what became of it, then how it was made and measured."""
    return (
        *_prompts(info, cells),
        *_models(cells),
        *_sampling(info, cells, shared),
        *_images(info, counts, making),
        *_machines(cells, making),
        *_times(making, sum((count.by_status for count in counts.values()), Counter())[OK]),
        *_evaluations(evaluations),
    )


def num_rows_left(info: RunInfo, counts: Collection[CellCount]) -> int:
    """Prompt rows of all cells that no committed shard holds."""
    return sum(max(0, info.prompts.num_rows - count.num_rows) for count in counts)


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


def _prompts(info: RunInfo, cells: Mapping[str, CellInfo]) -> Facts:
    yield "prompts", f"{info.prompts.name}, {info.prompts.num_rows:,} rows"
    yield "prompts' fingerprint", info.prompts.fingerprint
    yield "images a prompt", ", ".join(map(str, _values(cells, info, "sampling.num_images_per_prompt")))


def _values(cells: Mapping[str, CellInfo], info: RunInfo, name: str) -> list[object]:
    """That cells have, each once."""
    return list(dict.fromkeys(item.settings_in(info)[name] for item in cells.values()))


def _models(cells: Mapping[str, CellInfo]) -> Facts:
    for identity in dict.fromkeys(item.cell.model for item in cells.values()):
        variant = f", variant {identity.variant}" if identity.variant else ""
        yield MODEL, f"{identity.repo_id} ({identity.pipeline_class}, {identity.dtype}{variant})"
        yield "model revision", identity.revision


def _sampling(info: RunInfo, cells: Mapping[str, CellInfo], shared: Mapping[str, Setting]) -> Facts:
    for name in _SHOWN:
        if shared.get(name, "") != "" and SETTINGS[name].does_something(shared[name]):
            yield name, setting_text(shared[name])
    sizes = {(item.cell.sampling.width, item.cell.sampling.height) for item in cells.values()}
    yield "size", ", ".join(f"{width} x {height}" for width, height in sorted(sizes))
    yield "seed", ", ".join(map(str, _values(cells, info, "sampling.seed")))


def _images(info: RunInfo, counts: Mapping[str, CellCount], making: Making) -> Facts:
    by_status = sum((count.by_status for count in counts.values()), Counter())
    said = ", ".join(f"{count:,} {status}" for status, count in by_status.most_common()) or "none"
    yield "images", said
    left = num_rows_left(info, counts.values())
    if left:
        yield "not rendered yet", f"{left:,} prompt rows of {len(counts)} cells; the command below goes on with them"
    if making.reasons:
        yield "why images failed", "; ".join(f"{count:,} x {text}" for text, count in _common(making.reasons))
    if making.num_truncated:
        yield "truncated prompts", f"{making.num_truncated:,} images' prompts were longer than the text encoder reads"
    output = info.output
    quality = f", quality {output.quality}" if output.quality else ""
    yield "stored as", f"{output.image_format}{quality}, layout {output.layout}, {_size_text(making.num_bytes)}"


def _machines(cells: Mapping[str, CellInfo], making: Making) -> Facts:
    packages = {"darkroom": "darkroom_version", "torch": "torch_version", "diffusers": "diffusers_version"}
    said = [f"{name} {_list(making.values[column])}" for name, column in packages.items() if making.values[column]]
    yield "versions", ", ".join(said) or "unknown"
    for name, column in {"device": "device", "batch size": "batch_size"}.items():
        if making.values[column]:
            yield name, _list(making.values[column])
    if set(making.values["dtype"]) - {item.cell.model.dtype for item in cells.values()}:
        yield "dtype in use", _list(making.values["dtype"])


def _times(making: Making, num_ok: int) -> Facts:
    if making.first is None or making.last is None:
        return
    span = (making.last - making.first).total_seconds()
    yield "first record", f"{making.first:%Y-%m-%d %H:%M:%S} UTC"
    if span > 0 and num_ok > making.num_first:
        rate = (num_ok - making.num_first) / span
        yield "first to last record", f"{duration_text(span)}, pauses between starts and retries included"
        yield "images/s by the clock", f"{rate:,.2f}: all but the first record's shard, over that time"
    if making.render_s > 0:
        yield "time on devices", f"{duration_text(making.render_s)}: the sum of all images' shares of their batches"
        yield "images/s of a device", f"{making.num_timed / making.render_s:,.2f}: images over the time on devices"


def _evaluations(evaluations: Sequence[Evaluation]) -> Facts:
    if not evaluations:
        yield "evaluated", "not yet"
        return
    infos = [info for evaluation in evaluations for info in evaluation.metrics.values()]
    yield "evaluated", ", ".join(dict.fromkeys(item.created_at[:16].replace("T", " ") + " UTC" for item in evaluations))
    yield "extractors", ", ".join(dict.fromkeys(info.extractor for info in infos if info.extractor))
    references = dict.fromkeys(info.reference for info in infos if info.reference)
    if references:
        yield "references", ", ".join(references)


def _common(counts: Counter[str]) -> Sequence[tuple[str, int]]:
    return counts.most_common(_MOST_REASONS)


def _list(values: Counter) -> str:
    """What most records have first; with their numbers where there are several."""
    if len(values) == 1:
        return str(next(iter(values)))
    return ", ".join(f"{value} ({count:,} images)" for value, count in values.most_common())
