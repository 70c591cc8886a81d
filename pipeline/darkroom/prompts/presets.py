"""Known tables and benchmarks of prompts: what they are called, where they come from, and how they are read.

Nothing of them is part of this project: a preset reads the file that its makers give.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from pyarrow import csv

from darkroom.domain.errors import DarkroomError, first_line
from darkroom.prompts.columns import ColumnMapping
from darkroom.prompts.sources import Source, TableSource
from darkroom.storage.input_files import InputFile

Reader = Callable[[InputFile, ColumnMapping], Source]
_OF_PHOTOS = ("image", "height", "width")


@dataclass(frozen=True)
class Preset:
    """How a known set of prompts is read; columns that are not read are carried, as those of any file."""

    about: str
    address: str  # where its makers give it
    uri: str | None = None  # the file or folder as it is called there; None: a table of one's own
    prompt: Sequence[str] = ()  # what the column of prompts may be called
    has_photos: bool = False  # whether image, height and width are of photographs that the prompts describe
    glob: str = ""  # the files of a folder that are read
    stem: str = ""  # the column that the name of each file of lines becomes
    readers: Mapping[str, Reader] = field(default_factory=dict)  # by ending, where they are not the usual ones
    sha256: frozenset[str] = frozenset()  # of files as they are known

    def columns(self, prompt: str | None) -> dict[str, str | None]:
        photos: dict[str, str | None] = dict.fromkeys(_OF_PHOTOS) if self.has_photos else {}
        return photos | ({} if prompt is None else {"prompt": prompt})


def preset_of(name: str) -> Preset:
    """Raises DarkroomError for a name that is none."""
    if name not in PRESETS:
        raise DarkroomError(f"prompts.preset={name}: no such preset; there are {', '.join(PRESETS)}")
    return PRESETS[name]


def _captions(file: InputFile, mapping: ColumnMapping) -> Source:
    """COCO's captions: of each image the one with the lowest id, images in order of id."""
    with file.reading(), file.open_text() as stream:
        data = stream.read()
    try:
        found = json.loads(data)
        images = {each["id"]: each for each in found["images"]}
        rows: dict[int, dict[str, object]] = {}
        for each in sorted(found["annotations"], key=lambda each: (each["image_id"], each["id"])):
            rows.setdefault(each["image_id"], {"caption": str(each["caption"]).strip(), "caption_id": each["id"]})
        table = pa.Table.from_pylist(
            [
                {
                    **row,
                    "image_id": image_id,
                    **{name: images[image_id].get(name) for name in ("file_name", "height", "width")},
                }
                for image_id, row in rows.items()
            ]
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DarkroomError(
            f"{file.name}: not readable as COCO's captions ({type(error).__name__}: {first_line(error)}); needed "
            "captions_val2017.json or another captions_*.json"
        ) from error
    return TableSource(file.name, table, mapping)


def _questions(file: InputFile, mapping: ColumnMapping) -> Source:
    """DPG-Bench's questions, of which the first of each text is its row."""
    texts = csv.ConvertOptions(column_types={"item_id": pa.string(), "text": pa.string()})
    with file.reading(), file.open_text() as stream:
        table = csv.read_csv(stream, parse_options=csv.ParseOptions(newlines_in_values=True), convert_options=texts)
    if not {"item_id", "text"} <= set(table.column_names):
        raise DarkroomError(
            f"{file.name}: no columns 'item_id' and 'text'; needed dpg_bench.csv, or the folder of texts"
        )
    _, first = np.unique(table["item_id"].to_numpy(zero_copy_only=False).astype(str), return_index=True)
    return TableSource(file.name, table.select(["item_id", "text"]).take(np.sort(first)), mapping)


PRESETS: dict[str, Preset] = {
    "coco": Preset(
        "COCO captions: captions_*.json, one an image, or a table with a column caption",
        "http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
        "captions_val2017.json",
        ("caption", "captions", "text"),
        has_photos=True,
        readers={".json": _captions},
    ),
    "laion": Preset(
        "Tables of LAION: the column caption, TEXT or text",
        "https://huggingface.co/laion",
        prompt=("caption", "TEXT", "text", "top_caption"),
        has_photos=True,
    ),
    "img2dataset": Preset(
        "Tables that img2dataset writes beside its images: the column caption",
        "https://github.com/rom1504/img2dataset",
        prompt=("caption",),
        has_photos=True,
    ),
    "geneval": Preset(
        "GenEval: 553 prompts; tag is the category, include and exclude are for its scorer",
        "https://raw.githubusercontent.com/djghosh13/geneval/main/prompts/evaluation_metadata.jsonl",
        "evaluation_metadata.jsonl",
        sha256=frozenset({"5c48e0813e812e3c373fa5c8ed07a8f0a483be30272b4427b0559c8048e67c13"}),
    ),
    "t2i_compbench": Preset(
        "T2I-CompBench: a folder of <category>_val.txt, 300 prompts each; category is a column",
        "https://github.com/Karine-Huang/T2I-CompBench/tree/main/examples/dataset",
        "T2I-CompBench/examples/dataset",
        glob="*_val.txt",
        stem="category",
    ),
    "parti": Preset(
        "PartiPrompts: 1,632 prompts with Category and Challenge",
        "https://raw.githubusercontent.com/google-research/parti/main/PartiPrompts.tsv",
        "PartiPrompts.tsv",
        sha256=frozenset({"fab29e41bb512a169b56acab4cf2a41dcb675e285df2efcde6640c7dd3c440eb"}),
    ),
    "dpg": Preset(
        "DPG-Bench: 1,065 long prompts with item_id; dpg_bench.csv, or its folder of texts",
        "https://raw.githubusercontent.com/TencentQQGYLab/ELLA/main/dpg_bench/dpg_bench.csv",
        "dpg_bench.csv",
        ("text", "prompt"),
        glob="*.txt",
        stem="item_id",
        readers={".csv": _questions},
    ),
    "drawbench": Preset(
        "DrawBench: 200 prompts with Category",
        "https://docs.google.com/spreadsheets/d/1y7nAbmR4FREi6npB1u-Bo3GFdwdOPYJc617rBOxIRHY (as CSV)",
        "DrawBench.csv",
        ("Prompts", "prompts", "Prompt", "prompt"),
    ),
}
