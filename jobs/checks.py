"""Warnings that are worth a line before expensive work starts."""

import sys

from darkroom.jobs.build import Wanted
from darkroom.prompts.dataset import count_long_prompts
from darkroom.rendering.inspection import InspectedModel, token_counter


def warn(found: Wanted) -> None:
    """Say what will work but may surprise."""
    for warning in (*found.scan.warnings, *_long_prompts(found)):
        print(f"warning: {warning}", file=sys.stderr, flush=True)


def _long_prompts(found: Wanted) -> list[str]:
    return [warning for model in found.models if (warning := _long_prompts_of(model, found))]


def _long_prompts_of(model: InspectedModel, found: Wanted) -> str | None:
    limit = model.max_prompt_tokens
    counter = None if limit is None else token_counter(model)
    if limit is None or counter is None:
        return None
    count = count_long_prompts(found.dataset, counter, limit)
    if not count.num_long:
        return None
    checked = "" if count.num_checked == count.num_rows else f" of the first {count.num_checked}"
    return (
        f"{count.num_long}{checked} prompts are longer than the {limit} tokens that {model.identity.repo_id} reads; "
        "their ends are cut off, and their records say truncated"
    )
