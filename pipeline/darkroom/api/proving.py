"""Certificates of models: made by a self-test, kept in the user's cache and in runs, and what they decide.

A certificate is of one model, one kind of device, one batch size, one image size and one set of versions: of anything
else it says nothing, and is not found.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version

from darkroom import __version__
from darkroom.api.cells import CheckedCell, checked_cell, find_model
from darkroom.api.engine import likely_device, settled_for
from darkroom.api.events import Progress, Warned
from darkroom.api.options import EngineOptions
from darkroom.domain.certificates import PROMISES, Certificate
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import ModelIdentity, digest
from darkroom.domain.settings import ModelRef, Sampling, Value
from darkroom.metrics.tables import Table, text_table
from darkroom.rendering.inspection import InspectedModel
from darkroom.rendering.renderer import Renderer, RendererSpec, load_renderer
from darkroom.rendering.self_test import sampling_of_test, self_test
from darkroom.runs.certificates import certificates, get_certificate, put_certificate
from darkroom.storage.local import user_cache
from darkroom.storage.store import Store

_LIBRARIES = ("torch", "diffusers", "transformers")
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
    cell = checked_cell(model, sampling, sampling, device, find_model)
    if not is_testable(cell.model):
        raise DarkroomError(f"model.repo_id={cell.model.identity.repo_id}: {_NO_TEST.format('this')}")
    size = settled_for(cell.model, cell.cell.sampling, device, engine.batch_size)
    spec = RendererSpec(cell.model, device, size, engine.compile)
    return proof_of(spec, load_renderer(spec), cell.cell.sampling, progress)


def is_testable(model: InspectedModel) -> bool:
    """Not the painter, and no renderer of one's own, whose calls may cost money."""
    return model.folder is not None and model.plug_in is None


def proof_of(spec: RendererSpec, renderer: Renderer, sampling: Sampling, progress: Progress) -> Proof:
    """What the loaded model is seen to promise, kept in the user's cache; each promise that fails is told."""
    tested, identity, info = sampling_of_test(sampling), spec.model.identity, renderer.info
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
        versions=_versions(),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        checks=self_test(renderer, spec.model, sampling),
    )
    proof = Proof(_key(spec, sampling), certificate)
    with suppress(OSError):  # then it is tested again
        put_certificate(user_cache("certificates"), proof.key, certificate)
    tell_failed(certificate, progress)
    return proof


def kept_proof(spec: RendererSpec, sampling: Sampling, stores: Iterable[Store] = ()) -> Proof | None:
    """A certificate that was made before: of these stores, else of the user's cache; None where there is none."""
    key = _key(spec, sampling)
    for store in (*stores, user_cache("certificates")):
        found = get_certificate(store, key)
        if found:
            return Proof(key, found)
    return None


def run_certificate(store: Store, spec: RendererSpec) -> Certificate | None:
    """What a run was rendered by: its first certificate of the spec's model and batch size, of any image size."""
    model = spec.model.identity
    wanted = (model.revision, model.dtype, spec.batch_size, spec.compile)
    for found in certificates(store):
        if (found.revision, found.dtype, found.batch_size, found.compiled) == wanted:
            return found
    return None


def tell_failed(certificate: Certificate, progress: Progress) -> None:
    for check in certificate.failed:
        progress(Warned(f"{certificate.model}: {PROMISES[check.promise].text}: {check.text}"))


def _key(spec: RendererSpec, sampling: Sampling) -> str:
    model, size = spec.model.identity, (sampling.height, sampling.width)
    parts = [asdict(part) for part in model.parts]
    named = (model.revision, model.variant, model.dtype, model.trust_remote_code, parts)
    return digest("certificate", named, spec.device, spec.batch_size, spec.compile, size, _versions())


def _versions() -> dict[str, str]:
    return {"darkroom": __version__, **{name: version(name) for name in _LIBRARIES}}


# What a certificate decides ------------------------------------------------------------------------------------------


def limited(spec: RendererSpec, certificate: Certificate | None) -> RendererSpec:
    """The same such that each image is itself: without mixed batches, or with one image a batch, where the others are
    seen to change it."""
    if certificate is None:
        return spec
    return replace(
        spec,
        may_mix=certificate.may_mix,
        batch_size=spec.batch_size if certificate.may_batch else 1,
    )


def check_proof(engine: EngineOptions, model: ModelIdentity, certificate: Certificate | None) -> None:
    """Raises DarkroomError where the certificate is not what `engine.proof` requires."""
    required = engine.proof
    if required not in ("required", "exact"):
        return
    if certificate is None:
        raise DarkroomError(
            f"engine.proof={required}: {model.repo_id} has no certificate for this device, batch size, image size and "
            "these versions; make one with the same words by `darkroom prove` or `darkroom plan`"
        )
    if not (certificate.holds if required == "required" else certificate.is_exact):
        raise DarkroomError(
            f"engine.proof={required}: {model.repo_id}: {certificate.summary}; engine.proof=adapt renders in the mode "
            "in which images stand alone"
        )


def proofs_of(
    cells: Iterable[CheckedCell], specs: Iterable[RendererSpec], engine: EngineOptions, store: Store
) -> dict[ModelIdentity, Proof]:
    """The certificates that are there of a job's models, by models as they are loaded; in the run at `store`, or kept.

    A model has one for the size of its first cell. Raises DarkroomError where `engine.proof` requires more.
    """
    found: dict[ModelIdentity, Proof] = {}
    samplings = {item.cell.model.base: item.cell.sampling for item in reversed(list(cells))}
    for spec in specs if engine.proof != "off" else ():
        identity = spec.model.identity
        if not is_testable(spec.model):
            if engine.proof != "adapt":
                raise DarkroomError(f"engine.proof={engine.proof}: {_NO_TEST.format(identity.repo_id)}")
            continue
        proof = kept_proof(spec, samplings[identity], [store])
        check_proof(engine, identity, proof.certificate if proof else None)
        if proof:
            found[identity] = proof
    return found


def put_proofs(proofs: Iterable[Proof], store: Store, progress: Progress) -> None:
    """Into the run at `store`; each promise that fails is told."""
    for proof in proofs:
        if get_certificate(store, proof.key) is None:
            put_certificate(store, proof.key, proof.certificate)
        tell_failed(proof.certificate, progress)
