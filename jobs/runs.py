"""The jobs on a run: what renders it, what measures it, and what keeps it whole.

Each turns its configuration into typed values, makes one call of the API, prints, and returns the exit code.
"""

from omegaconf import DictConfig

from darkroom.api.run import Run
from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import num_without_image
from darkroom.jobs import printing, results, values
from darkroom.jobs.console import ExitCode
from darkroom.jobs.ending import Ending
from darkroom.jobs.hooks import hook_of
from darkroom.runs.commands import on_run
from darkroom.storage.store import StoreError


def plan(config: DictConfig) -> ExitCode:
    """Check everything and say what `generate` would do: images, shards, bytes and time. Nothing is stored."""
    from darkroom.api import planning

    hook_of(config.on_end)  # checked as all else is, and not used
    with _printer(config) as printer:
        asked = (config.prompts.get("write_to"), config.report, config.words)
        found = planning.plan(values.request(config), printer, *asked)
        results.planned(found)
    return ExitCode.OK


def prompts(config: DictConfig) -> ExitCode:
    """Show prompts of any kind as they would be rendered: how many, what they override, and some rows; write them.

    No model is looked for. Rows are chosen by the keys of `prompts`, such as `prompts.sample=10`.
    """
    from darkroom.api.prompt_rows import look_at

    found = look_at(values.prompts(config.prompts), config.num_shown, config.start, config.write_to, printing.Printer())
    results.of_prompts(found)
    return ExitCode.OK


def rewrite(config: DictConfig) -> ExitCode:
    """Let a language model make prompts richer, and write them with their originals as prompts for `generate`.

    Each answer has a seed of its own and is remembered; the same command goes on where it was cut off.
    """
    from darkroom.api import rewriting

    asked = (values.prompts(config.prompts), config.to, values.rewriting(config.rewrite), config.to_endpoint_url)
    try:
        found = rewriting.rewrite(*asked, results.of_rewriting())
    except KeyboardInterrupt:
        print("\ninterrupted: what was written and answered stays; the same command goes on")
        return ExitCode.INTERRUPTED
    results.rewritten(found)
    return ExitCode.OK if found.is_finished else ExitCode.UNFINISHED


def prove(config: DictConfig) -> ExitCode:
    """Test a model by a few small calls, and say which promises hold for it; exit code 1 where one fails.

    The certificate is kept: later plans and renderings of the same model, on such a device, find it.
    """
    from darkroom.api import proving

    found = proving.prove(*values.model_and_sampling(config), values.engine(config.engine), printing.Printer())
    results.proved(found)
    return ExitCode.OK if found.certificate.holds else ExitCode.CHECK_FAILED


def generate(config: DictConfig) -> ExitCode:
    """Render a prompt dataset. The same command again goes on where it was, and renders nothing twice."""
    return _rendered("generate", config)


def sweep(config: DictConfig) -> ExitCode:
    """Render every cell of a grid as one job. A grid that grows renders its new cells alone."""
    return _rendered("sweep", config)


def _rendered(job: str, config: DictConfig) -> ExitCode:
    with _printer(config) as printer, Ending(job, config.on_end, printer) as ending:
        try:
            from darkroom.api.rendering import render

            result = render(values.request(config), printer)
        except KeyboardInterrupt:
            printer.stopped("interrupted")
            return ending.ended(ExitCode.INTERRUPTED)
        except StoreError:
            printer.stopped("stopped")
            raise
        return ending.ended(results.rendered(result))


def _printer(config: DictConfig) -> printing.Printer:
    return printing.Printer(config.log.value == "json")


# Figures -----------------------------------------------------------------------------------------------------------


def evaluate(config: DictConfig) -> ExitCode:
    """Measure a committed run or sweep: features of every image, then figures of every cell, stored beside the run."""
    from darkroom.api import measuring

    with _printer(config) as printer, Ending("evaluate", config.on_end, printer, config.run) as ending:
        run = values.run_of(config)
        try:
            result = measuring.evaluate(run, values.evaluation(config), values.engine(config.engine), printer)
        except KeyboardInterrupt:
            print("\ninterrupted: the features that were stored stay; the same command goes on")
            return ending.ended(ExitCode.INTERRUPTED)
        code = results.evaluated(result)
        print(f"next: {on_run('report', run.store.spec)}", flush=True)
        return ending.ended(code)


def compare(config: DictConfig) -> ExitCode:
    """Compare two evaluated runs image by image; exit code 1 where b is worse than a by more than chance."""
    from darkroom.api import comparison

    options = values.comparison(config)
    comparison.chosen_metrics(options)  # refused before a run is opened
    a, b = comparison.compared_cells(config.a, config.b, config.endpoint_url)
    result = comparison.compare(a, b, options, results.of_comparison)
    print(result.table)
    if result.worse:
        print(f"b is worse than a by {', '.join(result.worse)}")
    return ExitCode.CHECK_FAILED if result.worse else ExitCode.OK


def report(config: DictConfig) -> ExitCode:
    """Write the page that shows a run: figures by cell, curves, contact sheets, picks, failures."""
    from darkroom.api.reporting import write_report

    run, output = values.run_of(config), config.output
    grid = values.grid_image(config.grid)
    found = write_report(run, output.uri, output.endpoint_url, config.num_prompts, grid, config.words)
    print(f"report: {found.place}")
    if found.grid:
        print(f"grid:   {found.grid}")
    # Figures, where there are none yet; else whether the images can be made again.
    print(f"next:   {on_run('verify' if found.has_figures else 'evaluate', run.store.spec)}", flush=True)
    return ExitCode.OK


def rate(config: DictConfig) -> ExitCode:
    """Write a page of blind pairs of a run's cells, for people to choose from; with `votes`, read their files back.

    The page opens from a disk, without a server. Votes are stored with the run, and are figures as others are.
    """
    from darkroom.api import rating

    votes = None if config.votes is None else list(config.votes)
    endpoints = (config.endpoint_url, config.votes_endpoint_url)
    found = rating.rate(config.run, values.rating(config), votes, config.output.uri, *endpoints, printing.Printer())
    results.rated(found)
    return ExitCode.OK


def find_copies(config: DictConfig) -> ExitCode:
    """Find the images of an evaluated run that are nearest to a reference's, such as its model's training images.

    The share of each cell's images that count as copies is a figure as others are; the nearest pairs are shown.
    """
    from darkroom.api import copies

    found = copies.find_copies(values.run_of(config), values.copies(config), printing.Printer())
    print(found.table)
    for each in found.nearest:
        print(f"pictures: {each.picture}", flush=True)
    return ExitCode.OK


def export(config: DictConfig) -> ExitCode:
    """Hand a run over as a dataset: numbered shards, a card (README.md) and the sums of all files (SHA256SUMS).

    Images are held against their records' digests as they are copied. The same command goes on where it was cut off,
    and ends in the same bytes.
    """
    return _exported("export", config)


def merge(config: DictConfig) -> ExitCode:
    """Hand several runs over as one dataset: `run` and `others`, with a column that says which run an image is of.

    All else is as in `export`.
    """
    if not config.others:
        raise DarkroomError("others=[] names no other run; give the runs to merge with, or use `darkroom export`")
    return _exported("merge", config)


def _exported(job: str, config: DictConfig) -> ExitCode:
    from darkroom.api import exporting

    with Ending(job, config.on_end, printing.Printer(), config.run) as ending:
        places, endpoints = (config.run, config.to), (config.endpoint_url, config.to_endpoint_url)
        options, engine = values.exporting(config), values.engine(config.engine)
        try:
            found = exporting.export(*places, options, engine, *endpoints, results.of_export())
        except KeyboardInterrupt:
            print("\ninterrupted: the shards that were written stay; the same command goes on")
            return ending.ended(ExitCode.INTERRUPTED)
        results.exported(found)
        return ending.ended(ExitCode.OK)


def push(config: DictConfig) -> ExitCode:
    """Upload a dataset that was exported to a repository of the Hugging Face hub, with the token of the environment.

    The same command goes on where it was cut off: what is there already is not uploaded again.
    """
    from darkroom.api import pushing

    with Ending("push", config.on_end, printing.Printer(), config.dataset) as ending:
        asked = (config.dataset, config.repo_id, config.private, config.replace)
        try:
            found = pushing.push(*asked, config.endpoint_url, results.of_push())
        except KeyboardInterrupt:
            print("\ninterrupted: what was uploaded stays; the same command goes on")
            return ending.ended(ExitCode.INTERRUPTED)
        results.pushed(found)
        return ending.ended(ExitCode.OK)


# Upkeep ------------------------------------------------------------------------------------------------------------


def status(config: DictConfig) -> ExitCode:
    """Say what is committed, what failed and why, what is left of a run, and how fast it grows.

    Exit code 0 where it is finished, 3 where it is but for records without an image, 75 where shards are missing.
    """
    run = values.run_of(config)
    found = run.status()
    (results.as_json if config.json else results.of_status)(run, found)
    if not found.is_finished:
        return ExitCode.UNFINISHED
    return ExitCode.ROWS_FAILED if num_without_image(found.by_status) else ExitCode.OK


def verify(config: DictConfig) -> ExitCode:
    """Compare committed images with their records; exit code 1 where one differs.

    A random sample is rendered again and compared by SHA-256. With `stored=true` nothing is rendered, and the stored
    bytes of all images are compared. With `c2pa=true` their signed manifests are read, and held against them.
    """
    from darkroom.api import verification

    run = values.run_of(config)
    if config.stored or config.c2pa:
        checks = [_check_stored(config, run)] if config.stored else []
        checks += [_check_manifests(config, run)] if config.c2pa else []
        return max(checks)
    device, model = config.device.value, values.model_place(config.model)
    found = verification.verify(run, results.of_images, config.num_images, config.seed, config.image_id, device, model)
    print(f"{found.num_equal} of {found.num_images} images are equal byte by byte when they are rendered again")
    if found.num_pixels_equal:
        print(f"{found.num_pixels_equal} more have equal pixels, and a file that differs: another text or encoder")
    if found.num_unseeded:
        print(f"{found.num_unseeded} more are of a renderer that makes no promise about seeds, and were not tried")
    return ExitCode.CHECK_FAILED if found.num_equal < found.num_images else ExitCode.OK


def _check_stored(config: DictConfig, run: Run) -> ExitCode:
    from darkroom.api.verification import check_stored

    found = check_stored(run, results.of_images)
    print(f"{found.num_images - found.num_damaged} of {found.num_images} stored images are what their records say")
    if found.num_trajectories:
        num_right = found.num_trajectories - found.num_trajectories_damaged
        print(f"{num_right} of {found.num_trajectories} stored trajectories are what their records say")
    if found.num_sidecars:
        print(f"{found.num_sidecars - found.num_sidecars_damaged} of {found.num_sidecars} signed manifests are too")
    if found.is_damaged:
        given = {f"model.{name!s}": value for name, value in config.model.items() if value}
        print(f"next: {on_run('repair', run.store.spec, **given)}")
    return ExitCode.CHECK_FAILED if found.is_damaged else ExitCode.OK


def _check_manifests(config: DictConfig, run: Run) -> ExitCode:
    from darkroom.api.verification import check_manifests

    found = check_manifests(run, results.of_images, config.trust_anchors)
    print(f"{found.num_valid} of {found.num_images} images have a signed manifest that holds")
    for signer, count in found.signers.most_common():
        print(f"  {count} by {signer.name}, {'trusted' if signer.is_trusted else 'not trusted'}")
    if not config.trust_anchors:
        print("who may sign was not asked; trust_anchors=roots.pem asks it")
    num_good = found.num_trusted if config.trust_anchors else found.num_valid
    return ExitCode.OK if num_good == found.num_images else ExitCode.CHECK_FAILED


def repair(config: DictConfig) -> ExitCode:
    """Render exactly the stored images again that are not what their records say, and put the right bytes back."""
    from darkroom.api import verification

    run = values.run_of(config)
    found = verification.repair(run, results.of_repair, config.device.value, values.model_place(config.model))
    print(f"{found.num_damaged - found.num_left} of {found.num_damaged} damaged images are repaired")
    if found.num_trajectories_damaged:
        num_right = found.num_trajectories_damaged - found.num_trajectories_left
        print(f"{num_right} of {found.num_trajectories_damaged} damaged trajectories are repaired")
    if found.num_sidecars_left:
        print(f"{found.num_sidecars_left} damaged signed manifests cannot be made again")
    if found.is_left:
        print("what is not repaired is as it was, and so are all records")
        print(f"next: {on_run('verify', run.store.spec, stored=True)}")
    return ExitCode.CHECK_FAILED if found.is_left else ExitCode.OK


def retry(config: DictConfig) -> ExitCode:
    """Render a run's failed records again; what succeeds takes the failed record's place."""
    from darkroom.api import maintenance

    with _printer(config) as printer, Ending("retry", config.on_end, printer, config.run) as ending:
        run = values.run_of(config)
        try:
            place, extractors = values.model_place(config.model), values.extractors(config.extractors)
            engine, signs = values.engine(config.engine), values.c2pa(config.output.c2pa)
            found = maintenance.retry(run, engine, printer, place, extractors, signs)
        except KeyboardInterrupt:
            print("\ninterrupted: shards that were not yet replaced are as they were")
            return ending.ended(ExitCode.INTERRUPTED)
        if found.num_tried:
            print(f"\n{found.summary.num_ok} images rendered that had failed before")
            printing.say_failures(found.summary)
        else:
            print("no failed records: nothing to render again")
        printing.say_staying(found.by_status, "and stay so")
        code = ExitCode.ROWS_FAILED if found.has_failures else ExitCode.OK
        return ending.ended(code if found.is_finished else ExitCode.UNFINISHED)


def compact(config: DictConfig) -> ExitCode:
    """Copy the metadata of all committed shards into few large Parquet files, which every reader of the run then uses.

    Nothing is removed, and nothing changes but the time that reading takes. Jobs may be working on the run; a job that
    renders many shards does the same as they complete, and leaves the last ones.
    """
    from darkroom.api import maintenance

    found = maintenance.compact(values.run_of(config), results.of_compaction())
    print(f"{found.num_copied} shards are copied into {found.num_segments} files, and {found.num_before} were before")
    if found.num_left:
        print(f"{found.num_left} manifests are not readable, and left as they are")
    return ExitCode.CHECK_FAILED if found.num_left else ExitCode.OK


def gc(config: DictConfig) -> ExitCode:
    """Remove what no committed shard of a complete run names: images of attempts that lost, and broken writes.

    With `manifests=true` also manifests that are copied, so that a listing of the run is short; see `darkroom compact`.
    """
    from darkroom.api.maintenance import collect

    keys = ("run", "endpoint_url", "older_than_s", "dry_run", "incomplete", "manifests")
    found = collect(*(config[name] for name in keys))
    removed = "would be removed" if config.dry_run else "removed"
    print(
        f"{len(found.objects)} objects ({found.num_bytes / 1e6:.1f} MB) that no shard names, and "
        f"{found.num_broken_writes} broken writes {removed}"
    )
    if config.manifests:
        print(f"{found.num_manifests} manifests that are copied {removed}")
    if found.foreign_files:
        print(f"{len(found.foreign_files)} files there that no job writes stay, such as {found.foreign_files[0]}")
    return ExitCode.OK
