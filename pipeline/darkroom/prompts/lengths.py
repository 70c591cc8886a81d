"""How many prompts are longer than the text encoder can see. Knows a function that counts tokens, and no tokenizer."""

from collections.abc import Callable
from dataclasses import dataclass

from darkroom.prompts.blocks import PromptDataset


@dataclass(frozen=True)
class LongPrompts:
    """Prompts past the limit among those that were checked, which may be fewer than there are."""

    num_checked: int
    num_long: int
    num_rows: int
    limit: int

    def __str__(self) -> str:
        among = f"all {self.num_rows}" if self.num_checked == self.num_rows else f"the first {self.num_checked}"
        return f"{self.num_long} of {among} prompts are longer than the text encoder's {self.limit} tokens and are cut"


def count_long_prompts(
    dataset: PromptDataset, tokenizer_fn: Callable[[list[str]], list[int]], limit: int, max_rows: int = 100_000
) -> LongPrompts:
    """Count prompts of more than `limit` tokens among the first `max_rows` rows."""
    num_checked = num_long = 0
    for block in dataset.blocks(block_rows=min(1024, max_rows)):
        prompts = [row.prompt for row in block.rows[: max_rows - num_checked]]
        num_long += sum(length > limit for length in tokenizer_fn(prompts))
        num_checked += len(prompts)
        if num_checked >= max_rows:
            break
    return LongPrompts(num_checked, num_long, dataset.scan(1).num_rows, limit)
