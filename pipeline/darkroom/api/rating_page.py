"""The page of blind pairs of a run's cells, for people to choose from."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from darkroom.api.evaluation_options import RatingOptions
from darkroom.api.events import Noted, Progress
from darkroom.api.run import Run, cell_address, check_writable, chosen_cells, endpoints, open_run
from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.rating_tables import expected_lines
from darkroom.reporting.rating_page import write_page
from darkroom.reporting.rating_pairs import chosen_pairs
from darkroom.runs.files import rating_page_prefix
from darkroom.runs.ratings import RatedCell, Study, put_study
from darkroom.storage.store import Store, open_store, parse_spec


@dataclass(frozen=True)
class RatingPage:
    """A page of blind pairs that was written."""

    run: Run
    place: str  # of index.html
    study: Study
    num_pairs: int  # without those that come again
    num_bytes: int  # of its images

    @property
    def expected(self) -> list[str]:
        """How well votes on it will tell cells apart, in sentences."""
        return expected_lines(len(self.study.cells), self.num_pairs)


def write_rating_page(
    given: str | Run, options: RatingOptions, out: str | None, endpoint_url: str | None, progress: Progress
) -> RatingPage:
    """Write it to a folder or an address, None for its own place under the run; the pairs are stored in the run.

    Raises DarkroomError where fewer than two cells have images.
    """
    for_run, for_out, *for_others = endpoints(endpoint_url, given, out, *options.others)
    run = open_run(given, for_run)
    check_writable(run)
    _check_repeats(options)
    cells = _cells(run, options.cells) | _other_cells(options.others, for_others, run)
    _check_several(cells, run)
    stores = {cell_id: owner.store for cell_id, owner in cells.items()}
    chosen = chosen_pairs(stores, options.num_pairs, options.num_repeats, options.seed)
    rated = tuple(RatedCell(cell_id, owner.cells[cell_id].settings_in(owner.info)) for cell_id, owner in cells.items())
    study = Study(options.question, rated, chosen.pairs, options.image_format)
    store, prefix = _place(run, study, out, for_out)
    _check_apart(stores.values(), store, prefix)
    put_study(run.store, study)
    num_pairs = sum(pair.repeats is None for pair in study.pairs)
    if num_pairs < options.num_pairs:
        progress(Noted(f"num_pairs={options.num_pairs}: no more than {num_pairs:,} are there, of prompts in two cells"))
    place, num_bytes = write_page(study, chosen.rows, store, prefix)
    return RatingPage(run, place, study, num_pairs, num_bytes)


def _place(run: Run, study: Study, out: str | None, endpoint_url: str | None) -> tuple[Store, str]:
    """Where the page goes, which can be written to, and what its keys begin with."""
    if out is None:
        return run.store, rating_page_prefix(study.study_id)
    store = open_store(parse_spec(out, endpoint_url))
    store.check()
    return store, ""


def _check_apart(runs: Iterable[Store], store: Store, prefix: str) -> None:
    """Raters get the page's folder whole, and a run says which cell an image is of."""
    for run in runs:
        if not prefix and f"{run.spec.uri}/".startswith(f"{store.spec.uri}/"):
            raise DarkroomError(
                f"output.uri={store.spec.uri}: the run {run.spec.uri} lies in it, and says what raters must not know; "
                "name a folder of its own, or leave it out"
            )


def _check_several(cells: Collection[str], run: Run) -> None:
    if len(cells) < 2:
        raise DarkroomError(
            f"run={run.uri}: one cell is there, and a pair needs two; render another one with `darkroom sweep`, or "
            "give another run in others=[...]"
        )


def _check_repeats(options: RatingOptions) -> None:
    if 2 * options.num_repeats > options.num_pairs:
        raise DarkroomError(
            f"num_repeats={options.num_repeats} is more than half of num_pairs={options.num_pairs}; give fewer, or 0"
        )


def _cells(run: Run, named: Sequence[str] | None) -> dict[str, Run]:
    """By cell_id; those that are named, or all that were not dropped early."""
    return dict.fromkeys(chosen_cells(run, named), run)


def _other_cells(others: Sequence[str], endpoint_urls: Sequence[str | None], run: Run) -> dict[str, Run]:
    found: dict[str, Run] = {}
    for given, endpoint_url in zip(others, endpoint_urls, strict=True):
        uri, named = cell_address(given)
        other = open_run(uri, endpoint_url, "others")
        for cell_id in _cells(other, [named] if named else None):
            if cell_id in found or cell_id in run.cells:
                raise DarkroomError(
                    f"others: cell {cell_id} of {other.uri} is in another run too, and its images are made alike; name "
                    f"one that is not, as {other.uri}#<cell_id>"
                )
            found[cell_id] = other
    return found
