"""Sweep two settings with the same noise in every cell, and pick the cell with the best CLIP score.

python infra/examples/sweep_and_pick.py [folder]
"""

import sys

import darkroom

out = sys.argv[1] if len(sys.argv) > 1 else "runs/examples/sweep"
colours, shapes = ["red", "blue", "green", "yellow"], ["circle", "square"]
prompts = darkroom.template("a {colour} {shape}", {"colour": colours, "shape": shapes})

run = darkroom.sweep(
    prompts,
    model="demo",
    out=out,
    axes={"guidance_scale": [1, 4], "num_inference_steps": [2, 5]},
    evaluate={"metrics": ["clip_score"]},
)
scores = {cell_id: figures["demo_clip.clip_score"] for cell_id, figures in run.figures.items()}
best = max(scores, key=lambda cell_id: scores[cell_id].value)
for cell_id, score in scores.items():
    sampling = run.cells[cell_id].cell.sampling
    print(
        f"guidance {sampling.guidance_scale:g}, {sampling.num_inference_steps} steps: {score.value:.3f} "
        f"({score.low:.3f} to {score.high:.3f}){'  <- best' if cell_id == best else ''}"
    )
print("the page:", run.report().place)
