"""The header of a dataset's card, which the Hugging Face hub and `datasets` read: which files, and of which columns.

https://github.com/huggingface/hub-docs/blob/main/datasetcard.md
"""

import json
from typing import Any

from darkroom.exporting.about import Card
from darkroom.exporting.column_types import feature
from darkroom.exporting.shards import SIDECARS, Format
from darkroom.runs.encoding import EXTENSIONS, feature_kind, task_of

_SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
_NAMES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B")


def header(of: Card) -> list[str]:
    """Its lines."""
    license = [f"license: {json.dumps(of.license)}"] if of.license else []
    splits = {split: _pattern(of.form, split) for split in of.counts.splits}
    files = [f"  - split: {json.dumps(name)}\n    path: {json.dumps(found)}" for name, found in splits.items()]
    features = [f"  - {json.dumps(each, ensure_ascii=False)}" for each in _features(of.form)]
    return [
        "---",
        *license,
        "task_categories:",
        f"- {task_of(of.form.image_format)}",
        "tags:",
        "- synthetic",
        "size_categories:",
        f"- {size_category(of.counts.num_images)}",
        "configs:",
        "- config_name: default",
        "  data_files:",
        *files,
        *(["  features:", *features] if of.form.layout == "imagefolder" else []),  # which looks nowhere else for them
        "dataset_info:",
        "  features:",
        *features,
        "---",
    ]


def _features(form: Format) -> list[dict[str, Any]]:
    """Of every column, as `datasets` opens the layout."""
    columns = [feature(field) for field in form.schema]
    sidecars = [feature(SIDECARS)] if form.has_sidecars else []
    if form.layout == "imagefolder":
        return [{"name": "image", "dtype": "image"}, *columns]
    kind = feature_kind(form.image_format)
    if form.layout == "parquet":
        return [{"name": "image", "dtype": kind}, *columns, *sidecars]
    texts = [{"name": name, "dtype": "string"} for name in ("txt", "__key__", "__url__")]
    image = {"name": EXTENSIONS[form.image_format], "dtype": kind}
    return [image, texts[0], {"name": "json", "struct": columns}, *sidecars, *texts[1:]]


def _pattern(form: Format, split: str) -> str:
    """Of a split's files."""
    if form.layout == "webdataset":
        return f"{split}-*.tar" if form.has_splits else "*.tar"
    return f"data/{split}-*.parquet" if form.layout == "parquet" else f"{split}/**"


def size_category(count: int) -> str:
    """As the hub names it, such as 1K<n<10K."""
    place = sum(count >= size for size in _SIZES)
    if place == 0:
        return "n<1K"
    return f"{_NAMES[place - 1]}<n<{_NAMES[place]}" if place < len(_NAMES) else "n>1B"
