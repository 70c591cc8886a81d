"""A causal language model as transformers loads it, that answers on this machine.

An answer is a function of the question and of the model, whatever else is in the batch: each row draws its tokens by a
generator of its own, from its own seed; each batch has the same number of rows, short ones padded; and a prompt is
padded to a length that follows from its own. So the shapes that a row is computed in are its own, too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from darkroom.domain.errors import DarkroomError, first_line
from darkroom.rendering.loading import LocalFiles, calls_models, detach_from_files, loads_models, proved, repeatable
from darkroom.rendering.model_files import (
    NEVER_READ,
    SMALL_FILES,
    file_digests,
    files_in,
    folder_revision,
    hub_snapshot,
)
from darkroom.rewriting.questions import TOO_LONG, Answer, Decoding, Question, read_answer
from darkroom.storage.store import check_slashes, is_in_object_store

SETTING = "rewrite.model"
_WEIGHTS = "*.safetensors"
_STEP = 64  # tokens: prompts are padded to multiples of it
_CONTEXT = ("max_position_embeddings", "n_positions", "max_sequence_length")  # what configurations call it


@dataclass(frozen=True)
class LanguageModelSpec:
    """What is loaded, and how."""

    model: str  # folder, hub id or address
    revision: str | None  # of a hub id
    dtype: str  # auto, float32, float16 or bfloat16
    device: str  # cpu, cuda or mps
    batch_size: int
    trust_remote_code: bool
    instruction: str
    decoding: Decoding


class LanguageModel:
    """Found when it is made, loaded by `open`."""

    def __init__(self, spec: LanguageModelSpec) -> None:
        """Raises DarkroomError where there is no such model, or its weights are no safetensors."""
        self._spec = spec
        folder, commit = _found(spec)
        names = [file.relative_to(folder).as_posix() for file in files_in(folder)]
        _check(spec, folder, names)
        digests = dict(zip(names, file_digests(folder / name for name in names), strict=True))
        self._files = LocalFiles(f"{SETTING}={spec.model}", folder, digests, lambda: _names(folder))
        self._tokenizer: Any = None
        self._network: Any = None
        revision = commit or folder_revision(dict(sorted(digests.items())))
        dtype = ("float32" if spec.device == "cpu" else "stored") if spec.dtype == "auto" else spec.dtype
        self.name = f"{spec.model if commit else folder.resolve().name}@{revision}"
        self.identity: Mapping[str, object] = {
            "kind": "transformers",
            "revision": revision,
            "dtype": dtype,
            **vars(spec.decoding),
        }

    def open(self) -> None:
        """Raises DarkroomError where it cannot be loaded."""
        self._tokenizer, self._network = proved(self._files, lambda: _load(self._spec, self._files.folder))
        try:
            self._tokens(Question("", "a cat", "", 0))
        except Exception as error:  # templates refuse in words of their own
            raise DarkroomError(
                f"{SETTING}={self._spec.model}: its chat template takes no user's message ({first_line(error)}); give "
                "a model made for chats"
            ) from error

    @property
    def notes(self) -> Sequence[str]:
        if self._tokenizer is None or self.has_chat_template:
            return []
        return [f"{self.name} has no chat template, and is asked in plain words; a model made for chats does better"]

    @property
    def has_chat_template(self) -> bool:
        """Whether it is asked in its own format of a chat, else in plain words. Of a model that is open."""
        return bool(self._tokenizer.chat_template)

    def answers(self, questions: Sequence[Question]) -> Iterator[tuple[Question, Answer]]:
        """In batches of prompts that are padded to one length."""
        groups: dict[int, list[tuple[Question, list[int]]]] = {}
        for question in questions:
            tokens = self._tokens(question)
            length = -(-len(tokens) // _STEP) * _STEP
            if (most := self._most_tokens) and len(tokens) + self._spec.decoding.max_new_tokens > most:
                said = f"{len(tokens)} tokens and max_new_tokens are more than the {most} of the model"
                yield question, Answer(TOO_LONG, error=said)
            else:
                groups.setdefault(length, []).append((question, tokens))
        for length, group in sorted(groups.items()):
            for start in range(0, len(group), self._spec.batch_size):
                batch = group[start : start + self._spec.batch_size]
                yield from zip((question for question, _ in batch), self._batch(batch, length), strict=True)

    @property
    def _most_tokens(self) -> int | None:
        config = self._network.config.get_text_config()
        return next((value for name in _CONTEXT if isinstance(value := getattr(config, name, None), int)), None)

    def _tokens(self, question: Question) -> list[int]:
        if not self.has_chat_template:
            text = f"{self._spec.instruction}\n\nPrompt: {question.text}\nRewritten prompt:"
            return list(self._tokenizer(text).input_ids)
        system = {"role": "system", "content": self._spec.instruction}
        try:
            text = self._chat([system, {"role": "user", "content": question.text}])
        except Exception:  # templates refuse in words of their own what they have no place for, as Gemma's a system
            text = self._chat([{"role": "user", "content": f"{self._spec.instruction}\n\n{question.text}"}])
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)

    def _chat(self, messages: list[dict[str, str]]) -> str:
        """Without reasoning before the answer, of templates that have a switch for it."""
        return str(
            self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
        )

    @calls_models
    @torch.inference_mode()
    def _batch(self, batch: Sequence[tuple[Question, list[int]]], length: int) -> list[Answer]:
        rows = [*batch, *[batch[-1]] * (self._spec.batch_size - len(batch))]
        pad = self._network.generation_config.pad_token_id
        ids = torch.tensor([[pad] * (length - len(tokens)) + tokens for _, tokens in rows])
        mask = torch.tensor([[0] * (length - len(tokens)) + [1] * len(tokens) for _, tokens in rows])
        with repeatable():
            found = self._network.generate(
                ids.to(self._spec.device),
                attention_mask=mask.to(self._spec.device),
                max_new_tokens=self._spec.decoding.max_new_tokens,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                logits_processor=_drawing(self._spec.decoding, [question.seed for question, _ in rows]),
            )
        return [self._answer(row.tolist()) for row in found[: len(batch), length:].cpu()]

    def _answer(self, tokens: list[int]) -> Answer:
        ends = self._network.generation_config.eos_token_id
        ends = {ends} if isinstance(ends, int) else {*(ends or ())}
        stop = next((place for place, token in enumerate(tokens) if token in ends), None)
        said = self._tokenizer.decode(tokens[:stop], skip_special_tokens=True)
        if not self.has_chat_template:  # it goes on with whatever else such a text may have
            said, line_end, _ = said.lstrip().partition("\n")
            stop = 0 if line_end else stop
        return read_answer(said, stop is None, self._spec.decoding.max_new_tokens)


def _drawing(decoding: Decoding, seeds: Sequence[int]) -> Any:
    """What leaves each row one token to choose: the likeliest at temperature 0, else one drawn by the row's generator.

    Of the tokens in order of the vocabulary, the first at which the sum of probabilities passes a number in [0, 1).
    """
    from transformers import LogitsProcessor, LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

    if not decoding.temperature:
        return LogitsProcessorList()
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    class Drawn(LogitsProcessor):  # type: ignore[misc]
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            """(rows, vocabulary) of scores to the same, all but one of a row minus infinity."""
            sums = scores.softmax(-1).cpu().double().cumsum(-1)
            drawn = torch.stack([torch.rand(1, generator=each, dtype=torch.float64) for each in generators])
            tokens = torch.searchsorted(sums, drawn * sums[:, -1:], right=True).clamp(max=scores.shape[-1] - 1)
            return torch.full_like(scores, -torch.inf).scatter(-1, tokens.to(scores.device), 0.0)

    warpers = [TemperatureLogitsWarper(decoding.temperature)]
    warpers += [TopPLogitsWarper(decoding.top_p)] if decoding.top_p < 1 else []
    return LogitsProcessorList([*warpers, Drawn()])


# Files ---------------------------------------------------------------------------------------------------------------


def _found(spec: LanguageModelSpec) -> tuple[Path, str | None]:
    """(folder of this machine, commit of the hub): small files first, so that another kind is refused at once."""
    check_slashes(spec.model, SETTING)
    folder = Path(spec.model).expanduser()
    if folder.is_dir():
        return folder, None
    if is_in_object_store(spec.model):
        from darkroom.rendering.remote_files import remote_files  # with the clouds' client

        files = remote_files(spec.model, SETTING, is_deep=True)
        return files.copied([name for name in files.names if PurePosixPath(name).suffix not in NEVER_READ]), None
    if spec.model.startswith((".", "/", "~")) or spec.model.count("/") > 1:
        raise DarkroomError(f"{SETTING}={spec.model}: no such folder; give a folder that is there, or a hub id")
    said = f"{SETTING}={spec.model}: neither a local folder"
    check = "the name, the revision, the network and, for a gated model, `hf auth login`"
    _check(spec, hub_snapshot(spec.model, SMALL_FILES, said, check, spec.revision), [_WEIGHTS])
    folder = hub_snapshot(spec.model, [*SMALL_FILES, "*.jinja", "*.py", _WEIGHTS], said, check, spec.revision)
    return folder, folder.name


def _names(folder: Path) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in files_in(folder)]


def _check(spec: LanguageModelSpec, folder: Path, names: Sequence[str]) -> None:
    """Raises DarkroomError for a folder that no causal language model can be loaded from."""
    if not (folder / "config.json").is_file():
        raise DarkroomError(f"{SETTING}={spec.model}: no config.json there; give a model in transformers' layout")
    if not any(name.endswith(".safetensors") for name in names):
        raise DarkroomError(
            f"{SETTING}={spec.model}: no {_WEIGHTS} there; convert pickles, which can run code, where you trust them, "
            "with `AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder)`"
        )


@loads_models
def _load(spec: LanguageModelSpec, folder: Path) -> tuple[Any, Any]:
    """(tokenizer, network on its device). What the weights lack would be made up at random, so it is refused."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    said: dict[str, Any] = {"local_files_only": True, "trust_remote_code": spec.trust_remote_code}
    dtype = "auto" if spec.dtype == "auto" and spec.device != "cpu" else spec.dtype.replace("auto", "float32")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **said)
        network, report = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, output_loading_info=True, **said
        )
    except (ValueError, OSError, KeyError, ImportError) as error:
        raise DarkroomError(
            f"{SETTING}={spec.model}: transformers cannot load it as a causal language model ({first_line(error)}); "
            "give one that it can, with rewrite.trust_remote_code=true where it brings code that you trust"
        ) from error
    lacking = sorted(report["missing_keys"]) + [str(key) for key in report["mismatched_keys"]]
    if lacking:
        raise DarkroomError(
            f"{SETTING}={spec.model}: its weights lack {len(lacking)} tensors that its config.json asks for, such as "
            f"{lacking[0]}; copy the model anew"
        )
    network = network.eval().requires_grad_(False).to(spec.device)
    detach_from_files([network])
    _set_ends(tokenizer, network.generation_config)
    return tokenizer, network


def _set_ends(tokenizer: Any, config: Any) -> None:
    """Where its files do not say them: what ends an answer, and what rows are padded with, which is masked."""
    if config.eos_token_id is None:
        config.eos_token_id = tokenizer.eos_token_id
    if config.pad_token_id is None:
        known = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
        config.pad_token_id = next(number for number in known if number is not None)
