"""What a person reads at a job's end: the results of API calls, printed, and the exit codes that they mean."""

import json
import shlex
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from darkroom.api import events
from darkroom.domain.identity import ModelIdentity
from darkroom.domain.progress import duration, readable_bytes
from darkroom.domain.records import OK, Record
from darkroom.jobs.console import ExitCode, most_urgent
from darkroom.jobs.printing import warn
from darkroom.runs.cells import axes, axis_lines
from darkroom.runs.commands import on_run, program

if TYPE_CHECKING:  # what they are made with takes seconds to load
    from darkroom.api.exporting import Export
    from darkroom.api.measuring import EvaluationResult
    from darkroom.api.planning import Cost, Plan
    from darkroom.api.prompt_rows import PromptRows
    from darkroom.api.proving import Proof
    from darkroom.api.pushing import Push
    from darkroom.api.rating import Ratings
    from darkroom.api.rating_page import RatingPage
    from darkroom.api.rendering import RenderResult
    from darkroom.api.rewriting import Rewrites
    from darkroom.api.run import Run, RunStatus

_MAX_REASONS = 10
_MAX_CELLS = 50  # unfinished ones that are named
_SAY_EVERY_S = 10.0


def rendered(result: "RenderResult") -> ExitCode:
    """Print the figures of a rendering job, and give its exit code."""
    codes = [evaluated(result.evaluation)] if result.evaluation else []
    if not result.is_finished:
        codes.append(ExitCode.UNFINISHED)
    if result.has_failures:
        codes.append(ExitCode.ROWS_FAILED)
    return most_urgent(*codes)


def evaluated(result: "EvaluationResult") -> ExitCode:
    """Print an evaluation's figures, and what was expected of them; the exit code."""
    print(result.brief)
    for verdict in result.verdicts:
        expected = verdict.expected
        print(
            f"{'pass' if verdict.holds else 'FAIL'}: {expected.figure} is {verdict.value:.8g} in cell "
            f"{verdict.cell_id}, expected {expected.lowest:.10g} to {expected.highest:.10g}"
        )
    return ExitCode.OK if result.is_good else ExitCode.CHECK_FAILED


def planned(found: "Plan") -> None:
    """What a rendering would make and cost."""
    _say_wanted(found)
    if not found.is_tried:
        print("bytes:   unknown, and time too: nothing is asked of the renderer by a plan, since it may cost money")
    elif found.cost is None or found.num_bytes is None or found.seconds is None:
        print("bytes:   unknown, and time too: no prompt of the first ones is valid")
    else:
        _say_tried(found, found.cost, found.num_bytes, found.seconds)


def of_prompts(found: "PromptRows") -> None:
    """Counts, and the rows that were asked for: each prompt with its number, and below it what else the row says."""
    scan = found.scan
    print(
        f"prompts: {found.name}: {scan.num_rows:,} rows, {scan.num_invalid:,} of them invalid, fingerprint "
        f"{scan.fingerprint[:16]}"
    )
    print(f"images:  {scan.num_images:,}, where a row without a number of its own has one")
    if scan.overriding:
        print(f"rows that override a setting: {scan.overriding}")
    if scan.extras_schema.names:
        print(f"columns that are carried: {', '.join(scan.extras_schema.names)}")
    for row, extras in zip(found.rows, found.extras, strict=True):
        print(f"\n{row.row}  {row.error or row.prompt}")
        said = {"prompt_id": row.prompt_id, **dict(row.overrides), **extras}
        print("   " + "  ".join(f"{name}={value}" for name, value in said.items() if value is not None))


def _say_wanted(found: "Plan") -> None:
    """What is known before anything is rendered."""
    prompts, model = found.prompts, found.model
    print(
        f"prompts: {prompts.num_rows} rows, {prompts.num_invalid} of them invalid, fingerprint "
        f"{prompts.fingerprint[:16]}"
    )
    if prompts.overriding:
        print(f"rows that override a setting: {prompts.overriding}; prompts.columns.<setting>=null leaves the run's")
    print(f"model:   {found.repo_id} {model.revision[:19]} {model.numbers}{_with_parts(model)}")
    print(f"output:  {found.place}")
    print(f"images:  {found.num_images}, in {found.num_shards} shards of {found.shard_size} prompts")
    if found.policy:
        made = f"{found.num_made}" + (f" to {found.num_made * found.max_attempts}" if found.max_attempts > 1 else "")
        print(f"policy:  {found.policy}; {made} images are made for these {found.num_images}")
    objects = found.footprint
    print(
        f"objects: {objects.num_objects:,} in the store, {objects.num_image_objects:,} of them of images; about "
        f"{objects.num_requests:,} requests"
    )
    if found.total_price is not None:
        print(f"price:   {found.total_price:g}{_at_most(found, found.total_price)} ({found.price:g} an image)")


def _say_tried(found: "Plan", cost: "Cost", num_bytes: float, seconds: float) -> None:
    """What batches that were rendered have shown. `num_bytes` and `seconds`: of all images."""
    if found.certificate:
        print(f"proof:   {found.certificate.summary}")
    if found.memory:
        print(f"memory:  {found.memory.text}")
        if not found.memory.fits:
            print(f"         {found.memory.advice}")
    if found.compiling:
        print(found.compiling)
    print(f"bytes:   about {readable_bytes(num_bytes)} ({readable_bytes(cost.size_bytes)} an image)")
    most = f", at most {duration(seconds * found.max_attempts)}" if found.max_attempts > 1 else ""
    print(
        f"time:    about {duration(seconds)}{most} on {found.num_workers} worker(s) such as this {found.device} "
        f"({cost.seconds:.3f} s an image{', scoring apart' if found.policy else ''})"
    )
    if found.workers_cost is not None:
        print(
            f"cost:    about {found.workers_cost:.3g}{_at_most(found, found.workers_cost)} of workers at "
            f"{found.price_per_hour:g} an hour ({found.workers_cost / max(1, found.num_images):.3g} an image), loading "
            "apart"
        )


def _at_most(found: "Plan", cost: float) -> str:
    """Of a plan whose policy may have images made again."""
    return f", at most {cost * found.max_attempts:.3g}" if found.max_attempts > 1 else ""


def proved(proof: "Proof") -> None:
    """What a model was seen to promise."""
    found = proof.certificate
    print(f"model:    {found.model} ({found.pipeline_class}, {found.dtype})")
    compiled = ", compiled" if found.compiled else ""
    compiled += f", by openvino {found.versions['openvino']}" if "openvino" in found.versions else ""
    print(
        f"executed: batches of {found.batch_size} on {found.device}{compiled}, {found.width}x{found.height}, "
        f"{found.num_inference_steps} steps"
    )
    print(proof.table)
    print(f"result:   {found.summary}")
    if not found.may_batch:
        print("mode:     one image a batch, since others change an image; engine.proof=off renders as asked")
    elif not found.may_mix:
        print("mode:     no mixed batches: rows with one guidance scale, negative prompt and set of LoRAs a call")


def _with_parts(model: ModelIdentity) -> str:
    return f" with {model.parts_text}" if model.parts else ""


# A run that is there -----------------------------------------------------------------------------------------------


def of_status(run: "Run", status: "RunStatus") -> None:
    print(f"run:       {run.store.describe()}")
    _say_what(run)
    _say_records(status)
    _say_policy(run, status)
    if status.dropped:
        print(f"dropped:   {len(status.dropped)} cells, by the sweep's early choice; the report says when and why")
    _say_left(run, status)
    _say_pace(status)
    _say_spent(status)
    for line in status.equal:
        print(f"equal:     {line}")


def _say_pace(status: "RunStatus") -> None:
    pace, now = status.pace, datetime.now(UTC)
    if (age_s := pace.age_s(now)) is not None:
        print(f"last:      a shard was committed {duration(age_s)} ago, at {pace.last_commit:%Y-%m-%d %H:%M:%S} UTC")
    if not status.is_finished and (left_s := pace.left_s(status.num_rows_left)) is not None:
        print(
            f"pace:      {pace.rows_per_s:.3g} prompt rows/s in the last ten minutes; at that, {duration(left_s)} more"
        )


def _say_spent(status: "RunStatus") -> None:
    if spent := status.spent:
        print(f"cost:      {spent.text(status.by_status)}, of commands that were given engine.price_per_hour")


def as_json(run: "Run", status: "RunStatus") -> None:
    """The same for programs: counts, seconds, and times as ISO 8601 in UTC."""
    pace = status.pace
    found = {
        "run": run.store.describe(),
        "is_finished": status.is_finished,
        "num_shards": status.num_shards,
        "num_committed_shards": status.num_committed,
        "num_prompt_rows_left": status.num_rows_left,
        "num_dropped_cells": len(status.dropped),
        "records": dict(status.by_status),
        "errors": dict(status.errors.most_common(_MAX_REASONS)),
        "num_truncated": status.num_truncated,
        "num_unmarked": status.num_unmarked,
        "num_bytes": status.num_bytes,
        "last_commit": pace.last_commit and pace.last_commit.isoformat(),
        "seconds_since_last_commit": pace.age_s(datetime.now(UTC)),
        "prompt_rows_per_s": pace.rows_per_s,
        "seconds_left": pace.left_s(status.num_rows_left),
        **_spent_fields(status),
        **_policy_fields(run, status),
    }
    print(json.dumps(found, indent=2, ensure_ascii=False))


def _spent_fields(status: "RunStatus") -> dict[str, float | None]:
    """Null where no command was given a price."""
    names = ("worker_seconds", "cost", "cost_per_image", "cost_per_ok_image")
    if (spent := status.spent) is None:
        return dict.fromkeys(names)
    return dict(zip(names, (spent.worker_s, spent.cost, *spent.an_image(status.by_status)), strict=True))


def _policy_fields(run: "Run", status: "RunStatus") -> dict[str, object]:
    """Null where the run has none."""
    count, policy = status.policy, run.info.policy
    return {
        "policy": policy and str(policy),
        "num_images_made": policy and count.num_made,
        "rejected_images": policy and dict(count.reasons.most_common(_MAX_REASONS)),
        "flagged_images": policy and dict(count.flagged.most_common(_MAX_REASONS)),
    }


def _say_what(run: "Run") -> None:
    info = run.info
    print(f"prompts:   {info.prompts.name}, {info.prompts.num_rows} rows, {info.num_images_per_prompt} image(s) each")
    for identity in dict.fromkeys(item.cell.model for item in run.cells.values()):
        print(f"model:     {identity.repo_id} {identity.revision[:19]} {identity.numbers}{_with_parts(identity)}")
    if len(run.cells) == 1:
        [only] = run.cells.values()
        print(f"sampling:  {only.headline}, seed {info.seed}")
    else:
        print(f"cells:     {len(run.cells)}, seed {info.seed}")
        for line in axis_lines(run.cells.values(), run.info):
            print(f"  {line}")


def _say_policy(run: "Run", status: "RunStatus") -> None:
    if run.info.policy:
        print(f"policy:    {run.info.policy}")
        print(f"accepted:  {status.policy}")
        for line in islice(status.policy.why(), _MAX_REASONS):
            print(f"  {line}")


def _say_records(status: "RunStatus") -> None:
    size = status.num_bytes / 1e6
    print(f"committed: {status.num_committed} of {status.num_shards} shards, {size:.1f} MB of images")
    counted = status.by_status.most_common()
    print(f"records:   {', '.join(f'{count} {name}' for name, count in counted) or 'none'}")
    if status.num_truncated:
        print(f"truncated: {status.num_truncated} prompts were longer than the text encoder reads")
    if status.num_unmarked:
        print(f"unmarked:  {status.num_unmarked} images do not hold the watermark, and are stored without")
    for reason, count in status.errors.most_common(_MAX_REASONS):
        print(f"  {count} x {reason}")


def _say_left(run: "Run", status: "RunStatus") -> None:
    left = status.num_rows_left
    print(f"left:      {f'{left} prompt rows; the command that started the run goes on' if left else 'nothing'}")
    names = axes(run.cells.values(), run.info)
    for cell_id, state in list(status.unfinished.items())[:_MAX_CELLS] if names else []:
        settings = run.cells[cell_id].settings_in(run.info)
        said = ", ".join(f"{name.split('.')[1]} {settings[name]}" for name in names)
        print(f"  {state.num_committed} of {state.num_shards} shards: {said}")


# Images that are compared with their records, and runs with each other --------------------------------------------


def of_images(event: Any) -> None:
    """What `verify` and `repair` tell of images."""
    match event:
        case events.RenderedElsewhere(then, now):
            print(f"note: rendered then on {then}, now on {now}; low bits may differ")
        case events.ImageDamaged(image_id, place, reason):
            print(f"{image_id} ({place}): {reason}", flush=True)
        case events.ImageDiffers():
            _say_differs(event)
        case events.Noted(text):
            print(f"note: {text}", flush=True)


def _say_differs(found: events.ImageDiffers) -> None:
    record = found.record
    digests = f"recorded {record.sha256}, now {found.sha256 or 'nothing'}"
    if found.pixels_are_equal:
        print(f"{record.image_id}: pixels equal, file differs ({found.place}): {digests}")
        return
    print(f"{record.image_id} differs ({found.place}): {digests}; {_made_by(record)}")
    if found.how:
        print(f"  {found.how}; prompt row {record.row}, seed {record.seed}")


def _made_by(record: Record) -> str:
    """So that a bad node can be found."""
    places = (("host", record.host), ("device", record.device_id), ("worker", record.worker))
    return "made by " + ", ".join(f"{name} {value}" for name, value in places if value)


def of_compaction() -> Callable[[int], None]:
    """Says how far it is, now and then."""
    said = time.monotonic()

    def tell(num_copied: int) -> None:
        nonlocal said
        if time.monotonic() - said > _SAY_EVERY_S:
            said = time.monotonic()
            print(f"  {num_copied} shards copied", flush=True)

    return tell


def of_repair(event: Any) -> None:
    if isinstance(event, events.ImageDamaged):
        outcome = "repaired" if event.is_repaired else f"not repaired: {event.reason}"
        print(f"{event.image_id} ({event.place}): {outcome}", flush=True)
    else:
        of_images(event)


def of_comparison(event: Any) -> None:
    match event:
        case events.Noted(text):
            print(f"note:   {text}")
        case events.ReferenceRead(text):
            print(text)
        case events.PairsCounted():
            most = event.most_compared
            which = f", of which {most:,} at most are compared" if most else ""
            print(f"pairs:  {event.num_pairs:,}, of {event.num_a:,} images in a and {event.num_b:,} in b{which}")


def rated(found: "RatingPage | Ratings") -> None:
    """A page that was written, or what votes came to."""
    from darkroom.api.rating_page import RatingPage

    store = found.run.store.spec
    if not isinstance(found, RatingPage):
        print(found.table)
        print(f"next: {on_run('report', store)}", flush=True)
        return
    again = len(found.study.pairs) - found.num_pairs
    images = f"{2 * len(found.study.pairs):,} images, {readable_bytes(found.num_bytes)}"
    print(f"pairs:  {found.num_pairs:,} of {len(found.study.cells)} cells, and {again:,} that come again; {images}")
    for line in found.expected:
        print(f"expect: {line}")
    print(f"page:   {found.place}")
    print("next:   send its folder to raters, and give the files that they send back:")
    print(f"        {on_run('rate', store, votes=['FILE.jsonl'])}", flush=True)


# Prompts -------------------------------------------------------------------------------------------------------------


def of_rewriting() -> Callable[[Any], None]:
    """Says how far it is, now and then, and which parts lack answers."""
    said = time.monotonic()

    def tell(event: Any) -> None:
        nonlocal said
        if isinstance(event, events.Noted):
            print(f"note:   {event.text}", flush=True)
        elif isinstance(event, events.Warned):
            warn(event.text)
        elif event.num_failed:
            warn(f"part {event.num_done} of {event.num_parts:,} lacks {event.num_failed:,} answers: {event.error}")
        elif time.monotonic() - said > _SAY_EVERY_S:
            said = time.monotonic()
            print(f"  {event.num_done:,} of {event.num_parts:,} files", flush=True)

    return tell


def rewritten(found: "Rewrites") -> None:
    kept = {status: count for status, count in found.by_status.items() if status != OK}
    before = f", {found.num_parts_before:,} of them there before" if found.num_parts_before else ""
    print(f"model:   {found.model}")
    print(f"prompts: {found.num_rows:,} of {found.num_prompts:,}, in {found.num_parts:,} files{before}")
    print(f"asked:   {found.num_asked:,}; all others were known, or are equal to one of these")
    if kept:
        said = ", ".join(f"{count:,} {status}" for status, count in kept.items())
        print(f"kept:    originals of which there is no usable answer: {said}; rewrite_error says why")
    if not found.is_finished:
        print(f"missing: {found.num_parts_missing:,} files; the same command asks again for their missing answers")
        return
    endpoint = [f"prompts.endpoint_url={found.endpoint_url}"] if found.endpoint_url else []
    words = ["generate", "prompts=file", f"prompts.uri={found.place}", *endpoint]
    print(f"next:    {program()} {shlex.join(words)} ...", flush=True)


# A dataset that is handed over -------------------------------------------------------------------------------------


def of_export() -> Callable[[Any], None]:
    """Says how far it is, now and then."""
    said = time.monotonic()

    def tell(event: Any) -> None:
        nonlocal said
        if isinstance(event, events.Noted):
            print(f"note:   {event.text}", flush=True)
        elif time.monotonic() - said > _SAY_EVERY_S:
            said = time.monotonic()
            print(f"  {event.num_done:,} of {event.num_shards:,} shards", flush=True)

    return tell


def exported(found: "Export") -> None:
    splits = ", ".join(f"{count:,} in {name}" for name, count in found.splits.items())
    before = f", {found.num_shards_before:,} of them there before" if found.num_shards_before else ""
    print(f"images: {splits}; {found.num_shards:,} shards{before}, {readable_bytes(found.num_bytes)}")
    counts = found.counts
    for why, count in counts.copies.items():
        print(f"left:   {count:,} images that are copies by {why}, listed in duplicates.parquet")
    if counts.num_excluded:
        print(f"left:   {counts.num_excluded:,} images do not hold the condition")
    if counts.without_image:
        said = ", ".join(f"{count:,} {status}" for status, count in counts.without_image.items())
        print(f"left:   records without an image: {said}")
    print(f"place:  {found.place}", flush=True)


def of_push() -> Callable[[Any], None]:
    """Says what is uploaded, as it is committed."""

    def tell(event: Any) -> None:
        if isinstance(event, events.Noted):
            print(f"note:   {event.text}", flush=True)
        else:
            print(f"  {event.num_done:,} of {event.num_files:,} files", flush=True)

    return tell


def pushed(found: "Push") -> None:
    before = f", {found.num_before:,} of them there before" if found.num_before else ""
    print(f"files:  {found.num_files:,}{before}, {readable_bytes(found.num_bytes)} uploaded")
    print(f"place:  {found.url}{' (private)' if found.is_private else ''}", flush=True)
