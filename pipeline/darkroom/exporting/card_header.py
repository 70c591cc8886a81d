"""The header of a dataset's card, which the Hugging Face hub and `datasets` read: which files, and of which columns.

https://github.com/huggingface/hub-docs/blob/main/datasetcard.md
"""

import json
from collections.abc import Mapping, Sequence
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
    task = task_of(of.form.image_format)
    return header_lines(license, task, of.counts.num_images, {"default": splits}, _features(of.form), of.form.layout)


def header_lines(
    first: Sequence[str],
    task: str,
    num_images: int,
    configs: Mapping[str, Mapping[str, str | Sequence[str]]],
    features: Sequence[Mapping[str, Any]],
    layout: str,
) -> list[str]:
    """`first`: lines before all others. `configs`: name -> split -> files; all have the same features."""
    typed = [f"  - {json.dumps(each, ensure_ascii=False)}" for each in features]
    inner = ["  features:", *typed] if layout == "imagefolder" else []  # which looks nowhere else for them
    return [
        "---",
        *first,
        "task_categories:",
        f"- {task}",
        "tags:",
        "- synthetic",
        "size_categories:",
        f"- {size_category(num_images)}",
        "configs:",
        *(line for name, splits in configs.items() for line in (*_config(name, splits), *inner)),
        "dataset_info:",
        *(line for name in configs for line in _info(name, typed, len(configs) > 1)),
        "---",
    ]


def _config(name: str, splits: Mapping[str, str | Sequence[str]]) -> list[str]:
    files = [f"  - split: {json.dumps(split)}\n    path: {json.dumps(files)}" for split, files in splits.items()]
    return [f"- config_name: {json.dumps(name)}", "  data_files:", *files]


def _info(name: str, features: Sequence[str], is_of_several: bool) -> list[str]:
    return (
        [f"- config_name: {json.dumps(name)}", "  features:", *features]
        if is_of_several
        else ["  features:", *features]
    )


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
