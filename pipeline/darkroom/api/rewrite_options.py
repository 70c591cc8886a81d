"""How prompts are written anew by a language model, as a caller asks for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from darkroom.api.annotations import check_options, option
from darkroom.api.options import DEVICE_HELP, DEVICES, SEEDS
from darkroom.domain.errors import DarkroomError, credentials_in, has_credentials
from darkroom.domain.setting_values import as_builtin
from darkroom.domain.settings import SETTINGS
from darkroom.rewriting.questions import INSTRUCTION


@dataclass(frozen=True, kw_only=True)
class RewriteOptions:
    """How prompts are rewritten, whatever does it."""

    model: str = option(
        is_place=True,
        help="The language model: a folder in transformers' layout, a hub id or an s3:// address; of openai, its name "
        "at the server.",
    )
    instruction: str = option(INSTRUCTION, help="What the model is told to do with each prompt.")
    num_rewrites: int = option(1, low=1, high=1000, help="Rewrites of each prompt, each with a seed of its own.")
    advice: Mapping[str, Any] | None = option(
        None,
        is_mapping=True,
        help="Lists of hints, such as {style: [watercolour, photograph], light: [dawn, neon]}: each rewrite is given "
        "one of each, drawn by its seed; null: none.",
    )
    temperature: float = option(0.7, low=0, high=2, help="How freely words are drawn; 0: the likeliest ones.")
    top_p: float = option(0.9, low=0.01, high=1, help="Words are drawn of the likeliest, up to this probability.")
    max_new_tokens: int = option(
        256, low=1, high=100_000, help="Tokens of an answer; one that has not ended by then is not used."
    )
    seed: int = option(0, **SEEDS, help="What each rewrite's own seed is drawn from, with the prompt's text.")
    shard_size: int = option(256, low=1, high=1_000_000, help="Prompt rows that are written and resumed as one file.")

    def __post_init__(self) -> None:
        check_options(self, "rewrite.")
        if has_credentials(self.model):
            raise credentials_in("rewrite.model")
        if not self.instruction.strip():
            raise DarkroomError("rewrite.instruction is empty; say what the model does, or leave it out")
        _ = self.hints

    @property
    def hints(self) -> dict[str, list[str]]:
        """`advice` as lists of texts."""
        found = {}
        for name, values in (self.advice or {}).items():
            values = [values] if isinstance(values, str) else as_builtin(values)
            if not isinstance(values, list | tuple) or not values or not all(isinstance(each, str) for each in values):
                raise DarkroomError(f"rewrite.advice: {name}={values}: give a list of texts, such as [a, b]")
            found[str(name)] = list(values)
        return found


@dataclass(frozen=True, kw_only=True)
class TransformersRewriteOptions(RewriteOptions):
    """By a language model on this machine."""

    revision: str | None = option(None, help=SETTINGS["revision"].help)
    dtype: str = option(
        "auto",
        choices=("auto", "float32", "float16", "bfloat16"),
        help="Numbers that the model computes with; auto: float32 on a CPU, as stored elsewhere.",
    )
    trust_remote_code: bool = option(False, help=SETTINGS["trust_remote_code"].help)
    device: str = option("auto", choices=DEVICES, help=DEVICE_HELP)
    batch_size: int = option(8, low=1, high=4096, help="Prompts in every call of the model.")


@dataclass(frozen=True, kw_only=True)
class OpenAIRewriteOptions(RewriteOptions):
    """By a server with OpenAI's chat completions API."""

    base_url: str = option(help="Address of the API, such as http://127.0.0.1:8000/v1.")
    key_variable: str | None = option(
        None, help="The environment variable that holds the key, such as OPENAI_API_KEY; null: none is sent."
    )
    parameters: Sequence[str] = option(
        ("temperature", "top_p", "max_tokens", "seed"),
        help="Which of temperature, top_p, max_tokens, max_completion_tokens and seed the server takes; seeds are "
        "passed on, and what they promise is the server's affair.",
    )
    concurrency: int = option(8, low=1, high=1024, help="Prompts that are asked about at once.")
    timeout_s: float = option(120.0, low=1, high=86_400, help="Seconds to wait for an answer.")
    max_attempts: int = option(
        6, low=1, high=100, help="Tries at an answer while the server is busy, failing or silent."
    )


REWRITES: Mapping[str, Any] = {
    "transformers": TransformersRewriteOptions,
    "openai": OpenAIRewriteOptions,
}
