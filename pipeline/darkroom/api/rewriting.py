"""Rewrites prompts by a language model, into a folder of Parquet that is a prompt set as any other."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from darkroom.api.arguments import Prompts
from darkroom.api.engine import local_device
from darkroom.api.events import Noted, Progress, Warned
from darkroom.api.export_checks import target_of
from darkroom.api.rewrite_options import OpenAIRewriteOptions, RewriteOptions, TransformersRewriteOptions
from darkroom.domain.errors import DarkroomError
from darkroom.domain.process import cache_folder
from darkroom.prompts.dataset import PromptScan
from darkroom.rendering.server_access import ServerAccess
from darkroom.rewriting.cache import AnswerCache
from darkroom.rewriting.chat_api import ChatApi
from darkroom.rewriting.language_model import LanguageModel, LanguageModelSpec
from darkroom.rewriting.parts import CLAIM, Counts, Rewriting, write_parts
from darkroom.rewriting.questions import Decoding, Wording
from darkroom.rewriting.rewriter import Rewriter
from darkroom.storage.local import LocalStore
from darkroom.storage.store import Store


@dataclass(frozen=True)
class Rewrites:
    """What was written."""

    place: str  # prompts of `generate`, by `prompts=file`
    endpoint_url: str | None  # of the place
    model: str
    num_prompts: int
    by_status: Mapping[str, int]  # rewritten rows: ok, refused, empty, too_long
    num_asked: int  # answers that the model gave this time
    num_parts: int
    num_parts_before: int  # that were there already
    num_parts_missing: int  # that lack answers of a server that failed; the same call goes on

    @property
    def is_finished(self) -> bool:
        return not self.num_parts_missing

    @property
    def num_rows(self) -> int:
        return sum(self.by_status.values())


def rewrite(
    prompts: Prompts, to: str, options: RewriteOptions, to_endpoint_url: str | None, progress: Progress
) -> Rewrites:
    """Write the rewritten prompts, or go on with them. Raises DarkroomError, before any prompt is asked about, for what
    cannot be rewritten as asked."""
    target = _target(to, to_endpoint_url, prompts)
    rewriter, scan = _rewriter(options), prompts.dataset.scan(1)
    if scan.held:
        raise DarkroomError(
            f"{prompts.name}: column {scan.held[0]} holds files, and rewritten prompts have names of pictures alone; "
            f"leave it unread with prompts.columns.{scan.held[0]}=null, or give paths"
        )
    wording = Wording(options.instruction, options.hints, options.seed, options.num_rewrites)
    rewriting = Rewriting(prompts.dataset, scan, wording, rewriter, options.shard_size)
    rewriting.check()
    CLAIM.check(target, rewriting.said, rewriting.claim)
    for text in _warnings(scan):
        progress(Warned(text))
    if {*rewriting.keys} - {info.key for info in target.list()}:
        rewriter.open()
    CLAIM.put(target, rewriting.said, rewriting.claim)
    for text in rewriter.notes:
        progress(Noted(text))
    counts = _written(rewriting, target, progress)
    return Rewrites(
        target.spec.uri,
        target.spec.endpoint_url,
        rewriter.name,
        scan.num_rows,
        dict(sorted(counts.by_status.items())),
        counts.num_asked,
        len(rewriting.keys),
        counts.num_parts_before,
        counts.num_parts_missing,
    )


def _target(to: str, endpoint_url: str | None, prompts: Prompts) -> Store:
    """A folder that takes parts, and is not read as prompts itself."""
    target = target_of(to, endpoint_url)
    places = prompts.settings.get("uri", ())
    for place in [places] if isinstance(places, str) else list(places):  # type: ignore[call-overload]
        if f"{target.spec.uri}/".startswith(f"{place.rstrip('/')}/"):
            raise DarkroomError(f"to={to}: lies in prompts.uri={place}, and would be read with it; give one outside")
    try:
        target.check()
    except DarkroomError as error:
        text = str(error).replace("output.uri", "to").replace("output.endpoint_url", "to_endpoint_url")
        raise type(error)(text) from None
    if isinstance(target, LocalStore):
        target.remove_abandoned()
    return target


def _warnings(scan: PromptScan) -> Iterator[str]:
    yield from scan.warnings
    if scan.num_marked:
        yield (
            f"{scan.num_marked:,} prompts have weights or LoRAs in them, as prompt_syntax=a1111 reads them; a language "
            "model may change or drop these"
        )


def _written(rewriting: Rewriting, target: Store, progress: Progress) -> Counts:
    cache, counts = AnswerCache(cache_folder("rewrites") / "answers.sqlite"), Counts()
    try:
        for part in write_parts(rewriting, target, cache, counts):
            progress(part)
    finally:
        cache.close()
    if cache.trouble:
        progress(
            Noted(
                f"answers are not kept for other rewritings ({cache.trouble}); make {cache_folder('rewrites')} "
                "writable, or name another cache as XDG_CACHE_HOME"
            )
        )
    return counts


# What answers --------------------------------------------------------------------------------------------------------


def _rewriter(options: RewriteOptions) -> Rewriter:
    """Raises DarkroomError where there is no such model, or an address or a key is none."""
    decoding = Decoding(float(options.temperature), float(options.top_p), options.max_new_tokens)
    if isinstance(options, OpenAIRewriteOptions):
        patience = (options.timeout_s, options.max_attempts)
        access = ServerAccess(
            options.base_url,
            options.key_variable,
            *patience,
            "rewrite",
            f"rewrite.model={options.model}",
            "answer",
        )
        parameters = tuple(options.parameters)
        return ChatApi(access, options.model, options.instruction, decoding, parameters, options.concurrency)
    assert isinstance(options, TransformersRewriteOptions)
    spec = LanguageModelSpec(
        options.model,
        options.revision,
        options.dtype,
        local_device(options.device, "rewrite.device"),
        options.batch_size,
        options.trust_remote_code,
        options.instruction,
        decoding,
    )
    return LanguageModel(spec)
