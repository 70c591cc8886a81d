"""Scoring while rendering, against rendering first and scoring then: whole commands, start-up and all."""

from pathlib import Path

from darkroom.bench.commands import seconds_of
from darkroom.bench.figure import Figure, Reach, Timing, ratios
from darkroom.bench.setting import Setting, alternated
from darkroom.bench.work import captions, write_prompts

_IMAGES = 64


def inline_scoring(setting: Setting) -> list[Figure]:
    """With the embedded CLIP; both end with the same figures of the run."""
    num_images = setting.sized(_IMAGES, 4)
    prompts = write_prompts(setting.folder / "scoring-prompts.parquet", captions(num_images))
    engine = ("engine=local", f"engine.device={setting.device}")
    generate = ("prompts=file", f"prompts.uri={prompts}", *engine)

    def inline(folder: Path) -> Timing:
        return Timing(num_images, seconds_of(setting, "generate", *generate, f"output.uri={folder}", "evaluate=inline"))

    def after(folder: Path) -> Timing:
        seconds = seconds_of(setting, "generate", *generate, f"output.uri={folder}")
        return Timing(num_images, seconds + seconds_of(setting, "evaluate", f"run={folder}", *engine))

    timings = alternated(setting, {"inline": inline, "after": after})
    return [
        Figure(
            name="inline_scoring",
            what="time of generate and then evaluate, over that of generate with evaluate=inline",
            unit="x",
            values=ratios(timings["inline"], timings["after"]),
            reach=Reach(1.2),
            timings=timings,
            settings={"images": num_images, "extractors": ["demo_clip"], "engine": "local", "model": "darkroom/demo"},
        )
    ]
