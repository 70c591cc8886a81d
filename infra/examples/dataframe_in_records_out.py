"""Prompts from a DataFrame, each row with settings of its own; records come back with its other columns.

python infra/examples/dataframe_in_records_out.py [folder]
"""

import sys

import pandas as pd

import darkroom

out = sys.argv[1] if len(sys.argv) > 1 else "runs/examples/dataframe"
frame = pd.DataFrame(
    {
        "prompt": ["a red circle", "a blue circle", ""],
        "guidance_scale": [2.0, 6.0, 4.0],  # wins over the call's own
        "label": ["red", "blue", "none"],  # not read: carried to the records
    }
)
run = darkroom.generate(frame, model="demo", out=out, num_inference_steps=5, on_invalid="record")
print(run.records[["label", "guidance_scale", "status"]])
for failure in run.failures:
    print(f"row {failure.row} has no image: {failure.error}")
