"""Groups of prompts by their columns, for figures by group: in memory that does not grow with the number of prompts."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from darkroom.api.events import Progress, Warned
from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.breakdowns import MOST_VALUES, group_names, group_text
from darkroom.prompts.extras import json_values
from darkroom.runs.bulk import read_each
from darkroom.runs.listing import Committed
from darkroom.storage.store import Store

Shards = Callable[[], Iterator[Committed]]


class Groups:
    """Of a run's shards. Records are read once for the groups' names, and once more for the prompts that are held."""

    def __init__(self, store: Store, shards: Shards, columns: Sequence[str], progress: Progress) -> None:
        """Columns with too many values are told and left out."""
        self._store, self._shards = store, shards
        self._names: dict[str, dict[str, str]] = {}  # column -> text of a group -> its name
        self._groups: dict[str, dict[str, str]] = {}  # prompt_id -> column -> name
        for column, texts in self._texts(columns).items():
            try:
                self._names[column] = group_names(texts, column)
            except DarkroomError as error:
                progress(Warned(str(error)))

    @property
    def columns(self) -> Collection[str]:
        return self._names

    def of(self, prompt_ids: Collection[str]) -> Mapping[str, dict[str, str]]:
        """Column -> prompt_id -> the name of its group, of these prompts at least."""
        wanted = set(prompt_ids)
        if self._names and not wanted <= self._groups.keys():
            self._groups = {}
            for ids, rows in self._read(list(self._names)):
                for prompt_id, *row in zip(ids, *rows, strict=True):
                    if prompt_id in wanted:
                        self._groups[prompt_id] = {
                            column: self._names[column][text] for column, text in zip(self._names, row, strict=True)
                        }
        return {column: {name: groups[column] for name, groups in self._groups.items()} for column in self._names}

    def _texts(self, columns: Sequence[str]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {column: set() for column in columns}
        for _, rows in self._read(columns) if columns else ():
            for texts, more in zip(found.values(), rows, strict=True):
                if len(texts) <= MOST_VALUES:
                    texts.update(more)
        return found

    def _read(self, columns: Sequence[str]) -> Iterator[tuple[list[str], list[list[str]]]]:
        """Shard by shard, prompt_ids and their texts by column."""
        for _, table in read_each(self._store, self._shards(), ["prompt_id", *columns]):
            values = (json_values(table.schema.field(column), table[column]) for column in columns)
            yield table["prompt_id"].to_pylist(), [list(map(group_text, each)) for each in values]
