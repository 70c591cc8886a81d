"""What of runs is handed over as a dataset, as a caller asks for it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from darkroom.api.annotations import check_options, option
from darkroom.api.options import _LICENSE, _SPLIT, AUTO, MANY
from darkroom.domain.errors import DarkroomError
from darkroom.domain.setting_values import as_builtin, as_number


@dataclass(frozen=True)
class ExportOptions:
    """What of a run is handed over as a dataset, and as what."""

    layout: str = option(
        "parquet",
        choices=("parquet", "webdataset", "imagefolder"),
        help="Parquet as `datasets` and the Hugging Face hub read it, WebDataset tars, or folders of images with "
        "metadata.parquet.",
    )
    others: Sequence[str] = option(
        (),
        is_place=True,
        help="More runs whose images are exported with the run's as one dataset, each as its address, or as "
        "run#cell_id for one cell of it; a column `run` says which an image is of.",
    )
    cells: Sequence[str] | None = option(
        None, help="Cells of the run to export, by their cell_id; null: all but those that were dropped early."
    )
    where: str | None = option(
        None,
        help="Images that hold this condition in SQL on the columns of records, on the prompts' own, and on stored "
        'scores of single images, such as "guidance_scale > 3 and demo_clip.clip_score > 0.7"; null: all that are ok.',
    )
    scores: Sequence[str] = option(
        (), help="Stored scores of single images that become columns, such as [demo_clip.clip_score]."
    )
    splits: Mapping[str, Any] | None = option(
        None,
        is_mapping=True,
        help="Splits with their shares, such as {train: 0.9, validation: 0.1}; a digest of the prompt decides, so that "
        "all images of one are in one split. null: all in train.",
    )
    shard_size: int | str = option(
        AUTO,
        low=1,
        high=MANY,
        words=(AUTO,),
        help="Images in a shard, at most; all shards of a split have equally many, give or take one. auto: what makes "
        "some 256 MiB, and 10,000 in a folder of images.",
    )
    image_format: str = option(
        "same",
        choices=("same", "png", "webp", "jpeg"),
        help="Images are encoded anew as this; same: they stay the files that they are.",
    )
    quality: int | None = option(
        None, low=1, high=100, help="Of webp and jpeg that are encoded anew; null: the run's own, or 95."
    )
    size: int | None = option(
        None, low=8, high=65_536, help="Larger images are made smaller, to so many pixels of their longer side."
    )
    dedup: str = option(
        "none",
        choices=("none", "pixels", "embedding"),
        help="Images that are left out as copies of earlier ones, and listed in duplicates.parquet: none; those of "
        "equal pixels; or those whose features have a cosine of at least `cosine`.",
    )
    cosine: float = option(0.95, low=0.01, high=1, help="From which on an image counts as a copy by embedding.")
    extractor: str | None = option(
        None,
        help="Whose stored features dedup=embedding compares, such as clip; null: the only one that the run was "
        "evaluated with.",
    )
    license: str | None = option(
        None, help="The license that the card names, by the hub's word for it, such as cc-by-4.0; null: none is named."
    )

    def __post_init__(self) -> None:
        check_options(self, "")
        if self.license is not None and not _LICENSE.fullmatch(self.license):
            raise DarkroomError(
                f"license={self.license}: no word for a license; give one as the hub has it, such as cc-by-4.0, mit or "
                "other"
            )
        if self.cells is not None and not self.cells:
            raise DarkroomError("cells=[] chooses none; name some, or leave it out for all")
        _ = self.shares
        self._check_idle()

    def _check_idle(self) -> None:
        """Raises DarkroomError for what does nothing beside the rest."""
        if self.quality is not None and self.image_format == "png":
            raise DarkroomError(f"quality={self.quality} is of webp and jpeg, and image_format is png; leave it out")
        if self.quality is not None and self.image_format == "same":
            raise DarkroomError(
                f"quality={self.quality} is of images that are encoded anew; give image_format=webp or jpeg, or leave "
                "it out"
            )
        for name, usual in (("cosine", ExportOptions.cosine), ("extractor", None)):
            if self.dedup != "embedding" and (value := getattr(self, name)) != usual:
                raise DarkroomError(f"{name}={value} is of dedup=embedding; give that, or leave it out")

    @property
    def shares(self) -> dict[str, float] | None:
        """`splits` as numbers."""
        if self.splits is None:
            return None
        found = {str(name): as_number(as_builtin(share), float) for name, share in self.splits.items()}
        shares = {name: share for name, share in found.items() if share is not None and 0 < share <= 1}
        for name in found:
            if name not in shares:
                raise DarkroomError(
                    f"splits: {name}={self.splits[name]}; give a share above 0 and at most 1, such as {{{name}: 0.1}}"
                )
            if name.lower() == "all":
                raise DarkroomError(f"splits: {name!r} means all splits to who reads them; give another name")
            if not _SPLIT.fullmatch(name):
                raise DarkroomError(f"splits: {name!r} is no name of a split; give letters, digits and underscores")
        if not math.isclose(sum(shares.values()), 1, abs_tol=1e-9):
            total = f"{sum(shares.values()):.10g}"
            raise DarkroomError(f"splits={shares}: the shares sum to {total}; give such that sum to 1")
        return shares

    @property
    def images_a_shard(self) -> int | None:
        """None for `auto`."""
        return self.shard_size if isinstance(self.shard_size, int) else None

    @property
    def given(self) -> dict[str, Any]:
        """The layout, and what else is not as it is by default, by name."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        usual: dict[str, tuple[Any, ...]] = {
            each.name: (each.default, []) for each in fields(self) if each.name != "layout"
        }
        return {name: value for name, value in found.items() if value not in usual.get(name, ())}
