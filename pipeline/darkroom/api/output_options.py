"""What becomes of images once they are rendered, as a caller says it: where they go and as what."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from darkroom.api.annotations import check_options, option
from darkroom.api.options import ENDPOINT_HELP
from darkroom.domain.errors import DarkroomError, credentials_in, has_credentials
from darkroom.domain.trajectories import MOST_STEPS, NUM_STEPS, SIDE
from darkroom.runs.overlays import OverlayFault, OverlaySettings, check_colour, read_box
from darkroom.runs.signing_keys import ENVIRONMENT, TEST, Signing
from darkroom.runs.videos import CODECS, VIDEO_FORMATS
from darkroom.runs.watermarks import check_text
from darkroom.storage.store import endpoint_of_no_store, is_remote

_DER = re.compile(rf"({ENVIRONMENT})?\s*M[A-I][A-Za-z0-9+/=\s]{{50,}}")  # a key or a certificate in base64


def absolute(path: str) -> str:
    """Of a file on every worker's machine."""
    return str(Path(path).expanduser().absolute())


@dataclass(frozen=True)
class WatermarkOptions:
    """An invisible mark in images' pixels."""

    text: str | None = option(
        None,
        help="What the mark says: 3 to 8 ASCII characters; null: no mark. Records say of each image whether it is "
        "found, since it does not hold on flat colours such as white.",
    )

    def __post_init__(self) -> None:
        check_options(self, "output.watermark.")
        if self.text is not None:
            check_text(self.text)


@dataclass(frozen=True)
class C2paOptions:
    """What signs a C2PA manifest of each image."""

    certificate: str | None = option(
        None,
        is_place=True,
        help="A PEM file with the certificate and those that lead to its root, on every worker's machine; test: one "
        "that each worker makes for itself, and nobody trusts. null: no manifests.",
    )
    private_key: str | None = option(
        None,
        is_place=True,
        help="The certificate's private key: a PEM file, or env:NAME for what that environment variable holds; read by "
        "workers, and kept nowhere.",
    )

    def __post_init__(self) -> None:
        check_options(self, "output.c2pa.")
        for name, remedy in (("certificate", "name its file"), ("private_key", "name its file, or env:NAME")):
            if "-----BEGIN" in (given := getattr(self, name) or "") or _DER.fullmatch(given):
                raise DarkroomError(
                    f"output.c2pa.{name} holds a key or a certificate itself, which commands and logs would keep; "
                    f"{remedy}"
                )
        is_own = self.certificate not in (None, TEST)
        if self.private_key is not None and not is_own:
            raise DarkroomError(
                f"output.c2pa.private_key={self.private_key}: it does nothing without the certificate that it is of; "
                "give output.c2pa.certificate, or leave it out"
            )
        if is_own and self.private_key is None:
            raise DarkroomError(
                f"output.c2pa.certificate={self.certificate}: its private key is missing; give "
                "output.c2pa.private_key, a PEM file or env:NAME"
            )

    def signing(self, says_prompts: bool) -> Signing | None:
        """None: nothing is signed."""
        if self.certificate is None or self.certificate == TEST:
            return Signing(TEST, says_prompts=says_prompts) if self.certificate else None
        key = self.private_key or ""
        key = key if key.startswith(ENVIRONMENT) else absolute(key)  # workers have working folders of their own
        return Signing(absolute(self.certificate), key, says_prompts)


@dataclass(frozen=True)
class OverlayOptions:
    """Text that is drawn on images, by columns of their prompts' rows."""

    text: str | None = option(
        None, help="The column with the text that is drawn on an image; a row without one has none. null: no texts."
    )
    font: str | None = option(
        None, help="The column with a font's file (TrueType or OpenType), which every worker's machine has."
    )
    box: str | None = option(
        None,
        help="The column with the box that a text is fitted into: left, top, right and bottom as shares of the image, "
        "or, where one is above 1, in pixels.",
    )
    colour: str | None = option(
        None, help="The column with the text's colour: a name of CSS, #rrggbb, or #rrggbbaa with how opaque it is."
    )
    default_font: str | None = option(
        None, is_place=True, help="The font's file where a row names none; null: Pillow's own, which has ASCII alone."
    )
    default_box: str = option("0.05,0.75,0.95,0.95", help="The box where a row gives none.")
    default_colour: str = option("white", help="The colour where a row gives none.")

    def __post_init__(self) -> None:
        check_options(self, "output.overlay.")
        if self.text is None:
            for each in fields(self):
                if (value := getattr(self, each.name)) != each.default:
                    raise DarkroomError(
                        f"output.overlay.{each.name}={value}: it does nothing without a text; give "
                        "output.overlay.text, the column that holds it, or leave it out"
                    )
        try:
            read_box(self.default_box)
            check_colour(self.default_colour)
        except OverlayFault as fault:
            raise DarkroomError(f"output.overlay: the default {fault}") from None

    @property
    def settings(self) -> OverlaySettings | None:
        """Without the fonts' digests; None: nothing is drawn."""
        if self.text is None:
            return None
        font = None if self.default_font is None else absolute(self.default_font)
        return OverlaySettings(**{**vars(self), "default_font": font})


@dataclass(frozen=True)
class OutputOptions:
    """Where images go, and as what."""

    uri: str | None = option(
        None, is_place=True, help="Folder or s3:// address of the run; null: below runs/, named by what is rendered."
    )
    endpoint_url: str | None = option(None, help=ENDPOINT_HELP)
    layout: str = option(
        "files",
        choices=("files", "webdataset", "parquet"),
        help="An object an image, WebDataset tars, or images inside Parquet.",
    )
    image_format: str = option(
        "png", choices=("png", "webp", "jpeg"), help="How images are encoded; png loses nothing."
    )
    quality: int = option(95, low=1, high=100, help="Of webp and jpeg; more is larger and better.")
    provenance: bool = option(
        True,
        help="Whether each file says that a model made it, which one, and of which prompt (IPTC digital source type in "
        "XMP); in webp and jpeg its settings too, as png has them. Files of an images API stay as they came.",
    )
    video_format: str = option(
        "mp4",
        choices=VIDEO_FORMATS,
        help="How videos are encoded: mp4 (H.264) and webm (VP9), by the optional package av; webp and gif, animated; "
        "zip, a PNG a frame, which alone loses nothing.",
    )
    crf: int | None = option(
        None,
        low=0,
        high=63,
        help="Of mp4, up to 51, and webm: less is larger and better; null: "
        + " and ".join(f"{codec.crf} of {name}" for name, codec in CODECS.items())
        + ".",
    )
    trajectory: bool = option(
        False,
        help="Whether it is stored how some images form: x_t and predicted x_0 of chosen steps, as pictures of at most "
        f"{SIDE} pixels a side, in a PNG an image beside the images. These stay as they are.",
    )
    trajectory_prompts: int = option(
        4, low=1, high=64, help="So many prompts, the first ones, whose first image in each cell has a trajectory."
    )
    trajectory_steps: Sequence[int] | None = option(
        None,
        help=f"Steps of trajectories, counted from 1, such as [1, 5, 20]; {MOST_STEPS} at most. null: {NUM_STEPS} from "
        "the first to the last.",
    )
    overlay: OverlayOptions = option(OverlayOptions(), help="Text on images.")  # noqa: RUF009, frozen
    watermark: WatermarkOptions = option(WatermarkOptions(), help="An invisible mark.")  # noqa: RUF009, frozen
    c2pa: C2paOptions = option(C2paOptions(), help="Signed manifests.")  # noqa: RUF009, frozen

    def __post_init__(self) -> None:
        check_options(self, "output.")
        self._check_trajectory()
        if self.uri is not None and has_credentials(self.uri):
            raise credentials_in("output.uri")
        if "webp" not in (self.image_format, self.video_format) and self.image_format != "jpeg":
            self._check_no_quality()
        codec = CODECS.get(self.video_format)
        if self.crf is not None and (codec is None or self.crf > codec.most):
            of = f"at most {codec.most} in {self.video_format}" if codec else f"of {' and '.join(CODECS)}"
            raise DarkroomError(f"output.crf={self.crf}: it is {of}; give another, or another output.video_format")
        if self.endpoint_url is not None and not is_remote(self.uri or ""):
            where = "not given, which is a folder" if self.uri is None else f"the folder {self.uri}"
            raise endpoint_of_no_store(where)

    def _check_no_quality(self) -> None:
        if self.quality != OutputOptions.quality:
            raise DarkroomError(
                f"output.quality={self.quality} is of webp and jpeg, and output.image_format is png; leave it out, or "
                "choose another format"
            )

    def _check_trajectory(self) -> None:
        steps = self.trajectory_steps
        for name in ("trajectory_prompts", "trajectory_steps"):
            if not self.trajectory and getattr(self, name) != getattr(OutputOptions, name):
                value = _listed(getattr(self, name))
                raise DarkroomError(
                    f"output.{name}={value} does nothing without output.trajectory=true; give both, or leave it out"
                )
        if steps is None:
            return
        in_order = all(before < after for before, after in pairwise([0, *steps]))
        if not steps or len(steps) > MOST_STEPS or not in_order:
            raise DarkroomError(
                f"output.trajectory_steps={_listed(steps)}: give 1 to {MOST_STEPS} steps, counted from 1, each once "
                "and in order, such as [1, 5, 20]"
            )


def _listed(value: Any) -> Any:
    """As the command line has it."""
    return list(value) if isinstance(value, tuple) else value
