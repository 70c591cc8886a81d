"""Pixels to bytes: image files, the settings written into them, and containers of many."""
