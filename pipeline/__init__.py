"""Darkroom's engine: every room of the pipeline, none of which knows the command line or its configuration."""

__version__ = "0.1.0"
