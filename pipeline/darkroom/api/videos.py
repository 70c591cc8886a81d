"""Videos, checked before anything is loaded: whether all cells make them, and what of the output they can have."""

from collections.abc import Collection, Sequence

from darkroom.api.cells import CheckedCell
from darkroom.api.output_options import OutputOptions
from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import OF_VIDEOS
from darkroom.runs.videos import CODECS, av

_OF_FILES = ("video_format", "crf")


def check_videos(output: OutputOptions, cells: Sequence[CheckedCell]) -> None:
    """Raises DarkroomError for cells of which some make videos and some images, and for options of the other kind."""
    kinds = {item.cell.sampling.is_video: item.cell.model.repo_id for item in cells}
    if len(kinds) > 1:
        raise DarkroomError(
            f"{kinds[True]} makes videos and {kinds[False]} images; give them runs of their own, since the files of a "
            "run are of one format"
        )
    if True in kinds:
        _check_output(output, kinds[True])
        return
    check_images(cells, [name for item in cells for name in OF_VIDEOS if getattr(item.cell.sampling, name) is not None])
    for name in _OF_FILES:
        if (value := getattr(output, name)) != getattr(OutputOptions, name):
            raise DarkroomError(f"output.{name}={value}: {kinds[False]} makes images; leave it out")


def check_images(cells: Sequence[CheckedCell], given: Collection[str]) -> None:
    """Refuse settings of videos by their names, of cells or rows, where cells make images."""
    for name in OF_VIDEOS:
        if name in given and not cells[0].cell.sampling.is_video:
            model = cells[0].cell.model.repo_id
            raise DarkroomError(f"{name}: {model} makes images; give sampling.num_frames too, or leave it out")


def _check_output(output: OutputOptions, model: str) -> None:
    if output.image_format != OutputOptions.image_format:
        raise DarkroomError(
            f"output.image_format={output.image_format}: {model} makes videos; give output.video_format in its place"
        )
    if output.video_format != "webp" and output.quality != OutputOptions.quality:
        raise DarkroomError(
            f"output.quality={output.quality} is of webp, and output.video_format is {output.video_format}; leave it "
            f"out, or give output.crf, which {' and '.join(CODECS)} have"
        )
    asked = {
        "trajectory": output.trajectory,
        "watermark.text": output.watermark.text,
        "c2pa.certificate": output.c2pa.certificate,
    }
    for name, value in asked.items():
        if value:
            raise DarkroomError(f"output.{name}: it is of images, and {model} makes videos; leave it out")
    if output.video_format in CODECS:
        av()


def quality_of(output: OutputOptions, are_videos: bool) -> tuple[str, int]:
    """The format of a run's files, and the number that its encoder takes; 0 for none."""
    if not are_videos:
        return output.image_format, 0 if output.image_format == "png" else output.quality
    name = output.video_format
    if name in CODECS:
        return name, CODECS[name].crf if output.crf is None else output.crf
    return name, output.quality if name == "webp" else 0
