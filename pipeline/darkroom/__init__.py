"""Offline, dataset-scale text-to-image generation: prompts in, a committed dataset of images and figures out."""

__version__ = "0.1.0"
