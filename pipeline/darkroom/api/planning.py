"""Says what rendering a request would make and cost, from real batches of its first prompts; nothing is stored."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from darkroom.api.checking import Checked, Request, check
from darkroom.api.compiling import chosen
from darkroom.api.engine import likely_device, renderer_spec
from darkroom.api.events import Noted, Progress, PromptsReported, PromptsWritten, Warned
from darkroom.api.footprint import Footprint, Memory, check_weights, estimated, footprint, measured
from darkroom.api.growing import growth_of
from darkroom.api.policies import check_policy, with_policy
from darkroom.api.preflight import checked_report, write_preflight
from darkroom.api.proving import cached_proof, check_proof, is_testable, limited, proof_of, tell_failed
from darkroom.api.speeds import are_alike, keep_speed, settled_here
from darkroom.api.warnings import warnings
from darkroom.api.watching import check_watching
from darkroom.domain.certificates import Certificate
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import ModelIdentity
from darkroom.domain.policy import Policy
from darkroom.domain.progress import told_of_copies
from darkroom.domain.records import ImageRequest, Sample, samples
from darkroom.domain.settings import Sampling
from darkroom.engine.device import batches
from darkroom.engine.meter import cost_of
from darkroom.prompts.dataset import PromptScan, write_parquet
from darkroom.rendering.memory import peak_of
from darkroom.rendering.renderer import Renderer, RendererSpec, load_renderer
from darkroom.runs.encoding import size_fault
from darkroom.runs.layouts import encode_image
from darkroom.runs.run import find_run
from darkroom.storage.store import Store, open_store

_PROBE_BATCHES = 2  # timed, after one that is not
_MOST_SIZES, _FEW_STEPS = 8, 2  # tried, of a model that may change them


@dataclass(frozen=True)
class Cost:
    """Of one image."""

    seconds: float
    size_bytes: float  # encoded


@dataclass(frozen=True)
class Plan:
    """What a request would make, and what it would cost on this machine's device."""

    prompts: PromptScan
    repo_id: str  # of the model, as it was named
    model: ModelIdentity
    place: str  # of the run
    shard_size: int
    num_shards: int
    batch_size: int
    device: str
    num_workers: int
    cost: Cost | None  # None where nothing was rendered: the first rows hold no valid prompt, or a call costs money
    footprint: Footprint  # in the store
    price: float | None = None  # of an image, where its renderer takes one
    is_tried: bool = True  # real batches were rendered where they could be
    certificate: Certificate | None = None  # what the model was seen to promise
    memory: Memory | None = None  # of a worker; None where it cannot be told
    compiling: str = ""  # whether models are compiled, and why; empty where nothing had to be decided
    price_per_hour: float | None = None  # of a worker
    policy: Policy | None = None

    @property
    def num_images(self) -> int:
        return self.prompts.num_images

    @property
    def num_made(self) -> int:
        """Images that are made for these, at least: under a policy not all of them are kept."""
        return self.policy.num_draws(self.num_images) if self.policy else self.num_images

    @property
    def max_attempts(self) -> int:
        """By how much more there may be, as a factor."""
        return self.policy.max_attempts if self.policy else 1

    @property
    def total_price(self) -> float | None:
        """Of all images that are made at least, where the renderer takes a price."""
        return None if self.price is None else self.price * self.num_made

    @property
    def num_bytes(self) -> float | None:
        """Of all images, about."""
        return None if self.cost is None else self.cost.size_bytes * self.num_images

    @property
    def seconds(self) -> float | None:
        """Of all workers together, about, for the images that are made at least."""
        return None if self.cost is None else self.cost.seconds * self.num_made / self.num_workers

    @property
    def workers_cost(self) -> float | None:
        """Of all workers, about, where a price was given: of the time that images take, loading apart."""
        if self.seconds is None or self.price_per_hour is None:
            return None
        return cost_of(self.seconds * self.num_workers, self.price_per_hour)


def plan(
    request: Request,
    progress: Progress,
    write_prompts_to: str | None = None,
    report: str | None = None,
    words: str | None = None,
) -> Plan:
    """Check everything, load the model and try it.

    write_prompts_to: a Parquet file for the prompts.
    report: a page that says what the prompts are like; "true": in the working folder.
    words: a file of words that are looked for in prompts.
    """
    page, listed = checked_report(report, words)
    check_watching(request.engine, progress)
    device = likely_device(request.engine)
    found, store = _checked(request, device, progress)
    found = with_policy(found, check_policy(found, None, progress))
    if write_prompts_to:
        progress(PromptsWritten(write_parquet(request.prompts.dataset, write_prompts_to), write_prompts_to))
    if page is not None:
        write_preflight(found, page, listed)
        progress(PromptsReported(str(page)))
    if growth := growth_of(found, request.prompts.info(found.scan), store):
        progress(Noted(growth.text))
    check_weights(found, device)
    size, num_workers = settled_here(found, device), request.engine.num_workers or 1
    run = find_run(store)
    compiling = chosen(found, replace(request.engine, batch_size=size), device, num_workers, run)
    spec = renderer_spec(found.models[0], device, size, replace(request.engine, compile=compiling.is_on))
    memory = _estimated(found, spec, progress)
    renderer, certificate = _tested(found, spec, progress)
    plug_in = found.models[0].plug_in
    is_tried = plug_in is None or plug_in.description.is_tried
    cost, memory = _tried(found, renderer, spec, memory) if is_tried else (None, memory)
    objects = footprint(found, run.shard_size if run else found.shard_size)
    for text in filter(None, [*_size_warnings(found, renderer), objects.advice]):
        progress(Warned(text))
    return Plan(
        prompts=found.scan,
        repo_id=found.cells[0].info.model_name,
        model=found.cells[0].cell.model,
        place=store.describe(),
        shard_size=objects.shard_size,
        num_shards=objects.num_shards,
        batch_size=renderer.info.batch_size,
        device=device,
        num_workers=num_workers,
        compiling=compiling.text,
        cost=cost,
        footprint=objects,
        price_per_hour=request.engine.price_per_hour,
        policy=found.policy,
        price=plug_in.description.price if plug_in else None,
        is_tried=is_tried,
        certificate=certificate,
        memory=memory,
    )


def _checked(request: Request, device: str, progress: Progress) -> tuple[Checked, Store]:
    """The request with what may surprise in it told, and where its run would be."""
    with told_of_copies(progress):
        found = check(request, device)
    for text in warnings(found):
        progress(Warned(text))
    store = open_store(found.store)
    if found.store.is_remote:
        store.check(writing=False)  # a folder need not be there yet
    return found, store


def _estimated(found: Checked, spec: RendererSpec, progress: Progress) -> Memory | None:
    """Of a worker, before anything is loaded; None where it cannot be told."""
    memory = estimated(found, spec)
    if memory and not memory.fits:
        progress(Warned(f"{spec.model.identity.repo_id} may not fit into memory: {memory.text}; {memory.advice}"))
    return memory


def _tested(found: Checked, spec: RendererSpec, progress: Progress) -> tuple[Renderer, Certificate | None]:
    """The renderer in the mode that its certificate allows; one is made where none is kept and one is asked for."""
    engine, cell, renderer = found.request.engine, found.cells[0].cell, load_renderer(spec)
    if engine.proof == "off" or not is_testable(spec.model):
        return renderer, None
    proof = cached_proof(spec, cell)
    if proof is None:
        try:
            proof = proof_of(spec, renderer, cell, progress)
        except DarkroomError as error:
            progress(Warned(str(error)))
    certificate = proof.certificate if proof else None
    if certificate:
        tell_failed(certificate, progress)
    check_proof(engine, found.cells[0].info, certificate, found.overriding)
    mode = limited(spec, certificate)
    return renderer if mode == spec else load_renderer(mode), certificate


def _tried(
    found: Checked, renderer: Renderer, spec: RendererSpec, memory: Memory | None
) -> tuple[Cost | None, Memory | None]:
    """The cost of an image; and the memory of a worker, as it was seen where that tells of all images."""
    with peak_of(spec.device) as peak:
        cost = _probe(found, renderer, spec)
    has_one_size = not {"height", "width"} & found.scan.num_overriding.keys()
    if memory and cost and peak.num_bytes and has_one_size:  # else the first rows are not the largest
        memory = measured(memory, peak.num_bytes)
    return cost, memory


def _probe(found: Checked, renderer: Renderer, spec: RendererSpec) -> Cost | None:
    """From real batches of the dataset's first valid prompts; None where the first rows hold none. `spec`: what the
    renderer was asked for as, by which its speed is kept."""
    batch: Sequence[Sample] = next(batches(islice(_storable(found), renderer.info.batch_size), renderer.info), ())
    if not batch:
        return None
    requests = [sample.request for sample in batch]
    begun = time.perf_counter()
    renderer.render(requests)
    started = time.perf_counter()
    for _ in range(_PROBE_BATCHES):
        images = renderer.render(requests)
    batch_s = (time.perf_counter() - started) / _PROBE_BATCHES
    seconds = batch_s / renderer.info.batch_size  # a short batch costs what a full one does
    if are_alike(found.scan.num_overriding):
        keep_speed(spec, found.cells[0].cell.sampling, seconds, started - begun - batch_s)
    model, output = found.cells[0].cell.model, found.run_info().output
    made = [(request, image.pixels) for request, image in zip(requests, images, strict=True)]
    sizes = [len(encode_image(request, pixels, model, output).data) for request, pixels in made if pixels is not None]
    return Cost(seconds, sum(sizes) / max(1, len(sizes)))


def _size_warnings(found: Checked, renderer: Renderer) -> Iterator[str]:
    """Of the first rows: what no file can hold, and, of a model whose sizes are not known, what it makes of them."""
    for fault in dict.fromkeys(fault for sample in _first_samples(found) if (fault := _fault(found, sample))):
        yield f"{fault}, or these rows will fail"
    if renderer.info.keeps_size or found.models[0].family.is_proved:
        return
    samplings = {(item.height, item.width): item for item in (each.request.sampling for each in _storable(found))}
    for (height, width), sampling in list(samplings.items())[:_MOST_SIZES]:
        few = replace(sampling, num_inference_steps=min(_FEW_STEPS, sampling.num_inference_steps))
        made = _size_made(renderer, few)
        if made != f"{width}x{height}":
            yield f"the model makes {made} of {width}x{height}; records will say so"


def _size_made(renderer: Renderer, sampling: Sampling) -> str:
    """Width and height of what a request becomes, or why it becomes nothing."""
    try:
        [image] = renderer.render([ImageRequest("size", "a photograph", 0, sampling)])
    except Exception as error:  # pipelines raise what they like for a size that they do not take
        return f"an error ({error})"
    if image.pixels is None:
        return f"an error ({image.error})"
    height, width = image.pixels.shape[-3:-1]
    return f"{width}x{height}"


def _storable(found: Checked) -> Iterator[Sample]:
    return (sample for sample in _first_samples(found) if not _fault(found, sample))


def _fault(found: Checked, sample: Sample) -> str | None:
    sampling = sample.request.sampling
    return size_fault(found.request.output.image_format, sampling.height, sampling.width)


def _first_samples(found: Checked) -> Iterator[Sample]:
    """Of the first block's valid rows."""
    run_info, cell = found.run_info(), found.cells[0].cell
    for row in found.rows_in(next(found.request.prompts.dataset.blocks(0)).rows, cell.cell_id):
        if not row.error:
            yield from samples(row, cell, run_info.seed, run_info.num_images_per_prompt)
