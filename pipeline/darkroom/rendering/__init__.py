"""Requests to pixels, by a diffusers model or by a painter. Runs where neither Ray nor Hydra is installed."""
