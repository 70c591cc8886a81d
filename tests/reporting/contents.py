"""Report contents as a sweep would leave them: 5 guidance scales, 3 schedulers, 3 step counts, 12 prompts."""

import io
import itertools

import numpy as np
from PIL import Image, ImageDraw

from darkroom.evaluation.figures import Figure, Metric
from darkroom.reporting.content import (
    Axis,
    CellResult,
    DroppedCell,
    FailedImage,
    GroupScore,
    Picks,
    Picture,
    ReportContent,
)

GUIDANCE = Axis("guidance_scale", (1.5, 3.0, 5.0, 7.5, 12.0))
SCHEDULER = Axis("scheduler", ("ddim", "euler", "dpm++2m"))
STEPS = Axis("num_inference_steps", (10, 20, 40))
HOSTILE = (
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror='window.hacked=2'>",
    "[press](javascript:window.hacked=3) | `a` ``b`` | **bold** @everyone #12 http://a.example/",
    "<!-- <script> \u2028\u2029 &lt;b&gt; \u202egnp.exe <b onmouseover=window.hacked=4>b</b> <a href='javascript:1'>",
)
PROMPTS = (
    "a red circle above a blue square",
    "two green triangles on a white table, soft light",
    "a lighthouse at dusk, long exposure, film grain",
    "an astronaut feeding pigeons in a small town square, watercolour",
    "ein Fuchs im Schnee, Gegenlicht",
    "a bowl of ramen seen from above",
    "雨の夜の東京の路地",
    "a macro photograph of a beetle on moss",
    *HOSTILE,
)


def metric(
    name: str,
    title: str,
    higher_is_better: bool,
    convention: str = "",
    interval: str = "",
    extractor: str = "",
    weights: str = "",
    resize: str = "",
    reference: str = "",
) -> Metric:
    return Metric(
        name, title, higher_is_better, convention, interval, extractor, "0" * 16, weights, resize, reference, ""
    )


METRICS = (
    metric(
        "fid", "FID", False, "clean-fid, Heusel et al. 2017", "95 % jackknife", "inception-v3", "sha256:6726825d0af5",
        "bicubic to 299", "coco-30k (30,000 images)",
    ),
    metric(
        "clip_score", "CLIP score", True, "100 x cosine, Hessel et al. 2021", "95 % bootstrap over prompts",
        "ViT-L/14", "sha256:f1a17cdbe0f3", "bicubic to 224", "",
    ),
    metric("kid", "KID", False, "unbiased, degree 3, x 1000", "95 % over subsets", "inception-v3", "sha256:6726825d"),
)  # fmt: skip


def sweep(prompts: tuple[str, ...] = PROMPTS, num_scores: int = 300) -> ReportContent:
    """All of a report's sections in use."""
    random = np.random.default_rng(7)
    cells = tuple(_cell(*values, random) for values in itertools.product(*(a.values for a in _AXES)))
    pictures = tuple(_picture(cell, row, prompt, random) for cell in cells for row, prompt in enumerate(prompts))
    ranked = [picture.image_id for picture in sorted(pictures, key=lambda picture: -(picture.score or 0))]
    middle = len(ranked) // 2
    mean = {cell.cell_id: cell.figures["clip_score"].value for cell in cells}
    return ReportContent(
        title="Sweep of stable-diffusion-1.5 on coco-12k",
        facts=FACTS,
        command="darkroom sweep prompts=coco-12k.parquet sweep.guidance_scale=[1.5,3,5,7.5,12] seed=0",
        axes=_AXES,
        cells=cells,
        metrics=METRICS,
        score_metric="clip_score",
        scores={name: random.normal(value, 2.5, num_scores).tolist() for name, value in mean.items()},
        breakdown={
            "category": {kind: _groups(mean, shift, random) for kind, shift in _KINDS.items()},
            "length": {kind: _groups(mean, shift, random) for kind, shift in {"short": 0.6, "long": -0.9}.items()},
        },
        pictures=pictures,
        picks=Picks(tuple(ranked[:6]), tuple(ranked[middle : middle + 6]), tuple(ranked[-6:])),
        failures=tuple(_failure(index, cells, prompts) for index in range(5)),
        dropped=(
            DroppedCell("d0" * 8, {"guidance_scale": 20.0, "scheduler": "ddim"}, "round 1 of 3", "CLIP 21.2, rank 46"),
        ),
        notes=("Pictures: 12 of 12,000 prompts, evenly spaced.", f"Scores: {num_scores} of 12,000 images a cell."),
    )


def plain_run() -> ReportContent:
    """One cell, no axes, no figures, no scores."""
    cell = CellResult("c0ffee0123456789", {"guidance_scale": 7.5, "scheduler": "euler"}, 8, 0, {})
    random = np.random.default_rng(1)
    pictures = tuple(_picture(cell, row, prompt, random) for row, prompt in enumerate(PROMPTS[:3]))
    return ReportContent("Plain run", FACTS, "darkroom generate", (), (cell,), pictures=pictures)


FACTS = (
    ("model", "runwayml/stable-diffusion-v1-5"),
    ("model revision", "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"),
    ("prompts", "coco-12k.parquet, 12,000 rows"),
    ("dataset fingerprint", "sha256:9a1f03b4c7d2e5f60718293a4b5c6d7e8f901a2b3c4d5e6f708192a3b4c5d6e7"),
    ("size", "512 x 512"),
    ("seed", "0"),
    ("versions", "darkroom 1.0, torch 2.13.0, diffusers 0.42.1"),
    ("hardware", "8 x NVIDIA H100"),
    ("duration", "11 h 42 min"),
    ("images/s", "12.8"),
)
_AXES = (GUIDANCE, SCHEDULER, STEPS)
_KINDS = {"animals": 0.8, "people": -0.4, "text <b>in</b> images": -2.2, "scenes": 0.2, "counting": -1.1, "style": 0.5}


def _cell(guidance: float, scheduler: str, steps: int, random: np.random.Generator) -> CellResult:
    """FID has its least at a middle guidance, CLIP score rises and levels off; better schedulers need fewer steps."""
    handicap = {"ddim": 1.0, "euler": 0.75, "dpm++2m": 0.4}[scheduler] * 40 / steps
    fid = 11 + 0.22 * (guidance - 3.4) ** 2 + 1.6 * handicap + random.normal(0, 0.15)
    clip = 31.5 - 7 * np.exp(-guidance / 2.6) - 0.35 * handicap + random.normal(0, 0.05)
    kid = (fid - 9) / 3 + random.normal(0, 0.05)
    warnings = ("fewer than 2048 images",) if guidance == 12.0 and steps == 10 else ()
    figures = {
        "fid": Figure(fid, fid - 0.35, fid + 0.4, 12000, 30000, warnings),
        "clip_score": Figure(clip, clip - 0.07, clip + 0.07, 12000),
        "kid": Figure(kid, kid - 0.1, kid + 0.1, 12000, 30000),
    }
    settings = {"guidance_scale": guidance, "scheduler": scheduler, "num_inference_steps": steps, "height": 512}
    name = f"{int(guidance * 10):04x}{len(scheduler):04x}{steps:04x}abcd"
    return CellResult(name, settings, 12000, 3 if steps == 10 else 0, figures)


def _groups(mean: dict[str, float], shift: float, random: np.random.Generator) -> dict[str, GroupScore]:
    return {name: GroupScore(value + shift + random.normal(0, 0.2), 2000) for name, value in mean.items()}


def _picture(cell: CellResult, row: int, prompt: str, random: np.random.Generator) -> Picture:
    name = f"{cell.cell_id}-{row}"
    score = None if not cell.figures else float(cell.figures["clip_score"].value + random.normal(0, 2.5))
    record = {"image_id": name, "prompt": prompt, "seed": str(row * 7919), "sha256": "ab" * 32}
    record |= {f"field_{index}": "value" for index in range(20)}
    verify = f"darkroom verify image_id={name}"
    return Picture(name, cell.cell_id, prompt, f"p{row}", 0, score, record, verify, _thumbnail(cell, row))


def _thumbnail(cell: CellResult, row: int) -> bytes:
    """A scene of its own for each prompt, more vivid with guidance, softer with few steps."""
    guidance = float(cell.settings.get("guidance_scale", 7.5))
    steps = int(cell.settings.get("num_inference_steps", 30))
    scene = np.random.default_rng(row)
    image = Image.new("RGB", (128, 128), tuple(int(200 - 60 * scene.random()) for _ in range(3)))
    pen = ImageDraw.Draw(image)
    for _ in range(4):
        left, top, size = (int(value) for value in scene.integers(5, 70, 3))
        hue = int(scene.integers(0, 360))
        color = f"hsl({hue}, {min(100, int(guidance * 8))}%, 50%)"
        shape = pen.ellipse if scene.random() < 0.5 else pen.rectangle
        shape((left, top, left + size, top + size), fill=color)
    small = image.resize((max(8, steps * 3),) * 2).resize((128, 128))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=75)
    return buffer.getvalue()


def _failure(index: int, cells: tuple[CellResult, ...], prompts: tuple[str, ...]) -> FailedImage:
    status, reason = (("failed", "out of memory at batch size 1"), ("filtered", "aesthetic score 3.1 < 4"))[index % 2]
    prompt = prompts[-1 - index % len(prompts)]
    return FailedImage(f"f{index}", cells[0].cell_id, prompt, f"p{index}", 0, status, reason, {"prompt": prompt})
