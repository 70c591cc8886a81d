"""The embedded model: a small world that the project draws itself, and what is trained on it."""

from pathlib import Path

MODEL_FOLDER = Path(__file__).parent / "weights" / "model"  # a diffusers pipeline
CLIP_FOLDER = Path(__file__).parent / "weights" / "clip"  # a transformers CLIP
LORAS_FOLDER = Path(__file__).parent / "weights" / "loras"  # of the model
LORAS = {file.stem: file for file in sorted(LORAS_FOLDER.glob("*.safetensors"))}  # by the style that each draws in
