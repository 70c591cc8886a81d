"""What a model was seen to promise: the outcome of the self-test of `rendering/self_test.py`, as plain values.

A promise is of equality (two ways to make one image give the same pixels) or of effect (another value of a setting
gives other pixels).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

MOST_CLOSE = 4  # largest difference of two pixel values, of 255, that rounding explains


class Outcome(Enum):
    """What a check came to."""

    EXACT = "bit-exact"
    CLOSE = "close"  # equal but for rounding
    ACTS = "acts"
    FAILS = "fails"
    UNTAKEN = "not asked"  # the model, or this batch size, has no such thing


@dataclass(frozen=True)
class Promise:
    """What a check looks at."""

    text: str
    is_equality: bool


PROMISES: Mapping[str, Promise] = {
    "repetition": Promise("the same call makes the same image", True),
    "place": Promise("an image does not depend on its place in the batch", True),
    "neighbours": Promise("an image does not depend on the images beside it", True),
    "padding": Promise("an image does not depend on how many rows of the batch are padding", True),
    "mixing": Promise("a batch of several guidance scales and negative prompts makes what single ones make", True),
    "lora_mixing": Promise("a batch of several LoRAs and weights makes what single ones make", True),
    "compiled": Promise("compiled code makes the image that the model makes without it", True),
    "diffusers": Promise("diffusers' own call with the prompt's text makes the same image", True),
    "size": Promise("an image has the size that was asked for", True),
    "prompt": Promise("another prompt makes another image", False),
    "seed": Promise("another seed makes another image", False),
    "guidance_scale": Promise("another guidance scale makes another image", False),
    "negative_prompt": Promise("a negative prompt makes another image", False),
    "num_inference_steps": Promise("another number of steps makes another image", False),
    "scheduler": Promise("another scheduler makes another image", False),
    "refiner_start": Promise("the refiner makes another image", False),
    "control_image": Promise("another control picture makes another image", False),
}
_ALONE = ("place", "neighbours", "padding")  # without which an image is itself only alone in its batch
_MIXED = ("mixing", "lora_mixing")  # without which a batch is of one setting of all of these


@dataclass(frozen=True)
class Check:
    """One promise, and what was seen of it."""

    promise: str  # a name of PROMISES
    difference: int | None  # the largest of two pixel values, 0 to 255; None: not asked, or an error
    num_differing: float = 0.0  # share of pixel values that differ
    error: str | None = None  # why the call for it failed

    @property
    def outcome(self) -> Outcome:
        if self.error is not None:
            return Outcome.FAILS
        if self.difference is None:
            return Outcome.UNTAKEN
        if not PROMISES[self.promise].is_equality:
            return Outcome.ACTS if self.difference else Outcome.FAILS
        if self.difference == 0:
            return Outcome.EXACT
        return Outcome.CLOSE if self.difference <= MOST_CLOSE else Outcome.FAILS

    @property
    def text(self) -> str:
        """The outcome with its figures, for people."""
        if self.error is not None:
            return f"fails: {self.error}"
        if not PROMISES[self.promise].is_equality and self.outcome is Outcome.FAILS:
            return "does nothing"
        if self.outcome in (Outcome.EXACT, Outcome.UNTAKEN):
            return str(self.outcome.value)
        if self.outcome is Outcome.ACTS:
            return f"acts: {self.num_differing:.1%} of pixel values"
        return f"{self.outcome.value}: {self.num_differing:.1%} of pixel values, by at most {self.difference} of 255"


@dataclass(frozen=True)
class Certificate:
    """The checks of one model, as it was executed."""

    repo_id: str
    revision: str  # of the model
    dtype: str
    pipeline_class: str
    device: str
    batch_size: int
    compiled: bool
    height: int
    width: int
    num_inference_steps: int
    versions: Mapping[str, str]  # of darkroom, torch, diffusers, ...
    created_at: str  # ISO 8601, UTC
    checks: tuple[Check, ...]

    @property
    def model(self) -> str:
        """For people."""
        return f"{self.repo_id} {self.revision[:19]}"

    def with_outcome(self, *outcomes: Outcome) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.outcome in outcomes)

    @property
    def failed(self) -> tuple[Check, ...]:
        return self.with_outcome(Outcome.FAILS)

    @property
    def holds(self) -> bool:
        """Every promise that was asked for, to rounding at least."""
        return not self.failed

    @property
    def is_exact(self) -> bool:
        """Every promise that was asked for, to the bit."""
        return not self.with_outcome(Outcome.FAILS, Outcome.CLOSE)

    @property
    def may_mix(self) -> bool:
        """Whether a batch may hold several guidance scales, negative prompts and LoRAs."""
        return not _names(self.failed) & {*_MIXED}

    @property
    def may_batch(self) -> bool:
        """Whether a batch may hold more than one image."""
        return not _names(self.failed) & {*_ALONE}

    @property
    def summary(self) -> str:
        """One line for people."""
        close, exact = self.with_outcome(Outcome.CLOSE), self.with_outcome(Outcome.EXACT)
        said = [f"{len(exact)} bit-exact"]
        if close:
            said.append(f"{len(close)} to {max(check.difference or 0 for check in close)} of 255")
        said.append(f"{len(self.with_outcome(Outcome.ACTS))} settings act")
        if self.failed:
            said.append(f"fails: {', '.join(check.promise for check in self.failed)}")
        return ", ".join(said)


def _names(checks: Iterable[Check]) -> set[str]:
    return {check.promise for check in checks}
