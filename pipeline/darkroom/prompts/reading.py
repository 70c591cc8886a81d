"""As what prompts are read: files by their endings or in the format of another tool, and a template's slots."""

from dataclasses import dataclass

AUTO, A1111_LINES, OPENAI_BATCH, IMAGES, RUN = "auto", "a1111", "openai_batch", "images", "run"
SLOT_NUMBERS = frozenset(("weight", "from", "to", "step", "uniform", "digits"))  # keys of a slot that hold numbers
FORMATS = (AUTO, A1111_LINES, OPENAI_BATCH, IMAGES, RUN)


@dataclass(frozen=True)
class Reading:
    """The default is by their endings."""

    format: str = AUTO
    wildcards: str | None = None  # folder of lists for __name__ in lines
    num_draws: int = 1  # of a line with choices that does not say how many
    draw_seed: int = 0
    ignored: tuple[str, ...] = ()  # flags of lines that are carried as columns, and not acted on

    @property
    def said(self) -> dict[str, object]:
        """What differs from the default."""
        found = {name: value for name, value in vars(self).items() if value != getattr(Reading, name)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}
