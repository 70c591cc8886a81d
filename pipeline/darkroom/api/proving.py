"""Certificates of models: made by a self-test, kept in the user's cache and in runs, and what they decide.

In the cache, a certificate is of one model, one kind of device, one batch size, one image size and other settings that
its test does not change, and one set of versions: of anything else it says nothing, and is not found. A run goes by
the one that it began with.
"""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version

from darkroom import __version__
from darkroom.api.cells import CheckedCell, checked_cell
from darkroom.api.checking import check_executed
from darkroom.api.engine import device_model, likely_device, renderer_spec
from darkroom.api.events import Progress, Warned
from darkroom.api.models import find_model
from darkroom.api.options import EngineOptions
from darkroom.api.prompt_checks import LORA_TAGS
from darkroom.api.speeds import settled_for
from darkroom.domain.adapters import LORAS
from darkroom.domain.certificates import PROMISES, Certificate
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import Cell, ModelIdentity, digest
from darkroom.domain.progress import told_of_copies
from darkroom.domain.records import adapters_of
from darkroom.domain.settings import CONTROL, IMAGE_SETTINGS, NEUTRAL_LOSSY, NONE, PICTURES, ModelRef, Sampling, Value
from darkroom.evaluation.tables import Table, text_table
from darkroom.rendering.backends import OPENVINO
from darkroom.rendering.inspected_model import InspectedModel, shared_models
from darkroom.rendering.memory_options import TORCHAO
from darkroom.rendering.renderer import Renderer, RendererSpec, load_renderer
from darkroom.rendering.self_test import sampling_of_test, self_test
from darkroom.runs.cells import CellInfo, read_cells
from darkroom.runs.certificates import (
    cached_certificate,
    model_key,
    put_certificate,
    settle_certificate,
    settled_certificate,
)
from darkroom.runs.opening import shards_of
from darkroom.runs.run import RunInfo
from darkroom.storage.local import user_cache
from darkroom.storage.store import NotFound, Store

_LIBRARIES = ("torch", "diffusers", "transformers", "peft")
_CHANGED = {"num_inference_steps", "guidance_scale", "negative_prompt"}  # by the test itself
_TESTED = {*_CHANGED, *NEUTRAL_LOSSY}
_OF_IMAGES = {each.name for each in IMAGE_SETTINGS}
_NO_TEST = "a self-test is of models in diffusers' layout, and {} is none; leave engine.proof out"


@dataclass(frozen=True)
class Proof:
    """A certificate, and the name that it is kept by."""

    key: str
    certificate: Certificate

    @property
    def table(self) -> str:
        """A line for each promise, for a terminal."""
        rows = [(PROMISES[check.promise].text, check.text) for check in self.certificate.checks]
        return text_table(Table(("promise", "seen"), rows, num_left=2))


def prove(model: ModelRef, sampling: Mapping[str, Value], engine: EngineOptions, progress: Progress) -> Proof:
    """Load the model, test it on this machine's device, and keep the certificate in the user's cache."""
    device = likely_device(engine)
    with told_of_copies(progress):
        found = checked_cell(model, sampling, sampling, device, find_model)
    _check_lossless("prove", found.cell.sampling, "leave it out")
    if not is_testable(found.model):
        raise DarkroomError(f"model.repo_id={found.model.identity.repo_id}: {_NO_TEST.format('this')}")
    check_executed(found.model, engine, found.cell.sampling, device)
    [loaded] = shared_models([found.model])
    size = settled_for(loaded, found.cell.sampling, device, engine)
    spec = renderer_spec(loaded, device, size, engine)  # not compiled by `auto`, without prompts
    return proof_of(spec, load_renderer(spec), found.cell, progress)


def is_testable(model: InspectedModel) -> bool:
    """Not the painter, and no renderer of one's own, whose calls may cost money."""
    return model.folder is not None and model.plug_in is None


def proof_of(spec: RendererSpec, renderer: Renderer, cell: Cell, progress: Progress) -> Proof:
    """What the loaded model is seen to promise, kept in the user's cache, or told that it cannot be."""
    sampling, identity, info = _tested(cell), cell.model, renderer.info
    tested = sampling_of_test(sampling)
    certificate = Certificate(
        repo_id=identity.repo_id,
        revision=identity.revision,
        dtype=info.dtype,
        pipeline_class=identity.pipeline_class,
        device=info.device,
        batch_size=info.batch_size,
        compiled=info.compiled,
        height=tested.height,
        width=tested.width,
        num_inference_steps=tested.num_inference_steps,
        versions=_versions(spec),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        checks=self_test(renderer, spec.model, sampling, adapters_of(cell, cell.sampling)),
    )
    proof = Proof(certificate_key(spec, cell), certificate)
    cache = user_cache("certificates")
    try:
        put_certificate(cache, proof.key, certificate)
    except OSError as error:
        progress(Warned(f"the certificate cannot be kept in {cache.describe()} ({error}): nothing will find it"))
    return proof


def _tested(cell: Cell) -> Sampling:
    """Settings of its images, by a ControlNet where there is one, whichever column names the control pictures."""
    sampling = cell.image_sampling
    return replace(sampling, control_image=sampling.control_image or CONTROL) if cell.model.controlnet else sampling


def cached_proof(spec: RendererSpec, cell: Cell) -> Proof | None:
    """A certificate that was made before, of the user's cache; None where there is none."""
    key = certificate_key(spec, cell)
    found = cached_certificate(user_cache("certificates"), key)
    return Proof(key, replace(found, repo_id=cell.model.repo_id)) if found else None


def tell_failed(certificate: Certificate, progress: Progress) -> None:
    for check in certificate.failed:
        progress(Warned(f"{certificate.model}: {PROMISES[check.promise].text}: {check.text}"))


def certificate_key(spec: RendererSpec, cell: Cell) -> str:
    """What promises depend on: settings count but for those that the test changes itself, guidance as there is any."""
    sampling = _tested(cell)
    settings = {name: value for name, value in sampling.effective.items() if name not in _TESTED}
    settings |= {name: True for name in PICTURES if name in settings}  # not which
    shape = (settings, sampling.is_guided, adapters_of(cell, sampling))
    held: list[object] = [spec.model.execution] if spec.model.execution else []
    held += [LORAS] if any(file.part.kind == LORAS for file in spec.model.parts) else []  # which may share a batch
    versions = _versions(spec)
    return digest(
        "proof", model_key(cell.model), device_model(spec.device), spec.batch_size, spec.compile, shape, versions, *held
    )


def _versions(spec: RendererSpec) -> dict[str, str]:
    libraries = [*_LIBRARIES]
    libraries += [TORCHAO] if spec.model.identity.quantization != NONE else []
    libraries += [OPENVINO] if spec.backend == OPENVINO else []
    return {"darkroom": __version__, **{name: version(name) for name in libraries}}


# What a certificate decides ------------------------------------------------------------------------------------------


def limited(spec: RendererSpec, certificate: Certificate | None) -> RendererSpec:
    """The same such that each image is itself: without mixed batches, or with one image a batch, where the others are
    seen to change it."""
    if certificate is None:
        return spec
    return replace(spec, may_mix=certificate.may_mix, batch_size=spec.batch_size if certificate.may_batch else 1)


def limited_as(store: Store, spec: RendererSpec) -> RendererSpec:
    """The same as the run at `store` goes by for its model."""
    try:
        return limited(spec, settled_certificate(store, spec.model.identity))
    except NotFound:  # a run that is older than certificates
        return spec


def check_proof(engine: EngineOptions, cell: CellInfo, certificate: Certificate | None, columns: Iterable[str]) -> None:
    """Raises DarkroomError where the certificate is not what `engine.proof` requires; `columns`: that rows override."""
    required, name = engine.proof, f"{cell.cell.model.repo_id} ({cell.headline})"
    if required not in ("required", "exact"):
        return
    _check_covered(f"engine.proof={required}", cell, columns)
    if certificate is None:
        raise DarkroomError(
            f"engine.proof={required}: {name} has no certificate for this device, batch size, image size and these "
            "versions; make one by `darkroom prove` with the same words of model, sampling and engine"
        )
    if not (certificate.holds if required == "required" else certificate.is_exact):
        raise DarkroomError(
            f"engine.proof={required}: {name}: {certificate.summary}; engine.proof=adapt renders in the mode in which "
            "images stand alone"
        )


def _check_covered(label: str, cell: CellInfo, columns: Iterable[str]) -> None:
    """Refuse images that no certificate speaks of: with settings of rows that the test does not change, or with what
    trades quality for speed, which the test leaves out."""
    sampling, adapt = cell.cell.sampling, "or give engine.proof=adapt"
    changed = _CHANGED if sampling.is_guided else _CHANGED - {"guidance_scale"}
    for name in columns:
        if name == LORA_TAGS:
            raise DarkroomError(
                f"{label}: prompts name LoRAs, and a certificate is of one choice; take them out, {adapt}"
            )
        if name in _OF_IMAGES - changed:
            raise DarkroomError(
                f"{label}: column {name}: a certificate is of one {name} for all images; leave it unread with "
                f"prompts.columns.{name}=null, {adapt}"
            )
    _check_lossless(label, sampling, f"leave it out too, {adapt}")


def _check_lossless(label: str, sampling: Sampling, remedy: str) -> None:
    for name, neutral in NEUTRAL_LOSSY.items():
        value = getattr(sampling, name)
        if value != neutral:
            raise DarkroomError(
                f"{label}: sampling.{name}={value}: a self-test leaves it out, so that no certificate speaks of it; "
                f"{remedy}"
            )


def proofs_of(
    cells: Iterable[CheckedCell], specs: Iterable[RendererSpec], engine: EngineOptions, columns: Collection[str]
) -> dict[str, Certificate]:
    """The certificates that are kept of a job's models, by `model_key`; of a model's cells the one that allows least.

    Raises DarkroomError where `engine.proof` requires more of a cell; `columns`: that rows override.
    """
    found: dict[str, Certificate] = {}
    by_model = {spec.model.identity: spec for spec in specs}
    for item in cells if engine.proof != "off" else ():
        spec, cell = by_model[item.cell.model.base], item.cell
        if not is_testable(spec.model):
            if engine.proof != "adapt":
                raise DarkroomError(f"engine.proof={engine.proof}: {_NO_TEST.format(cell.model.repo_id)}")
            continue
        proof = cached_proof(spec, cell)
        check_proof(engine, item.info, proof.certificate if proof else None, columns)
        if proof:
            known = found.setdefault(model_key(cell.model), proof.certificate)
            found[model_key(cell.model)] = min(
                known, proof.certificate, key=lambda each: (each.may_batch, each.may_mix)
            )
    return found


def settled_proofs(
    models: Iterable[InspectedModel], kept: Mapping[str, Certificate], store: Store, info: RunInfo, progress: Progress
) -> dict[ModelIdentity, Certificate]:
    """What the run at `store` goes by: for a model that it renders first now, the certificate in `kept`.

    Models of which it has images already go on as they began. `kept` is by `model_key`.
    """
    identities = [model.identity for model in models if is_testable(model)]
    settled: dict[ModelIdentity, Certificate | None] = {}
    for identity in identities:
        with suppress(NotFound):
            settled[identity] = settled_certificate(store, identity)
    begun = _begun_models(store, info) if len(settled) < len(identities) else set()
    for identity in identities:
        key = model_key(identity)
        if identity not in settled:
            settled[identity] = settle_certificate(store, identity, None if key in begun else kept.get(key))
        _tell_settled(identity, settled[identity], kept.get(key), progress)
    return {identity: certificate for identity, certificate in settled.items() if certificate}


def _begun_models(store: Store, info: RunInfo) -> set[str]:
    """`model_key` of the models of which shards are committed."""
    begun, cells = {shard.cell_id for shard in shards_of(store, info)}, read_cells(store)
    return {model_key(cells[cell_id].cell.model) for cell_id in begun if cell_id in cells}


def _tell_settled(
    identity: ModelIdentity, settled: Certificate | None, kept: Certificate | None, progress: Progress
) -> None:
    if settled:
        tell_failed(settled, progress)
    elif kept and not (kept.may_mix and kept.may_batch):
        progress(
            Warned(
                f"{identity.repo_id}: the run began without a certificate and goes on in its mode, in which images may "
                "depend on each other; another output.uri goes by the certificate that there is now"
            )
        )
