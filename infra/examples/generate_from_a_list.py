"""Render a list of prompts, look at the records, open an image by its prompt. Run it again: nothing is rendered twice.

python infra/examples/generate_from_a_list.py [folder]
"""

import sys

import darkroom

out = sys.argv[1] if len(sys.argv) > 1 else "runs/examples/list"


def progress(event: object) -> None:
    """Any callable: here a line a shard."""
    if isinstance(event, darkroom.Progressed):
        print(f"{event.num_done} of {event.num_images} images")


run = darkroom.generate(
    ["a small red circle", "a large blue square", {"prompt": "a green triangle", "seed": 7}],
    model="demo",
    out=out,
    num_inference_steps=5,
    guidance_scale=4,
    num_images_per_prompt=2,
    progress=progress,
)
print(run.records[["prompt", "seed", "status", "key"]])
for image in run.images(prompt="a green triangle"):
    print(image.size, image.info["record"].image_id)
