"""Measure two runs and say whether the faster one is worse, image by image.

python infra/examples/evaluate_and_compare.py [folder]
"""

import sys
from pathlib import Path

import darkroom

out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/examples/compare")
prompts = [f"a {colour} {shape}" for colour in ("red", "green", "blue") for shape in ("circle", "square", "triangle")]

slow, fast = (
    darkroom.generate(prompts, model="demo", out=out / f"{steps}-steps", num_inference_steps=steps) for steps in (8, 2)
)
for run in (slow, fast):
    print(run.evaluate(metrics=["clip_score"]).table)
found = slow.compare(fast, metrics=["demo_clip.clip_score"], tolerance=0.01)
print(found.table)
print("worse by", ", ".join(found.worse) or "nothing that can be shown")
