"""What the process that jobs are forked off has done: imports, and what Hydra and presets' files make of most jobs.

A module of its own, which that process alone imports.
"""

import diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion  # noqa: F401
import pandas  # noqa: F401

import darkroom.api.rendering
import darkroom.jobs.runs
import darkroom.rendering.pretrained  # noqa: F401
from darkroom.jobs.overrides import composed
from darkroom.runs.commands import presets

for job in ("generate", "sweep"):
    composed(job, ["model=paint", "engine=local", "prompts=file", "prompts.uri=none"])
presets()
