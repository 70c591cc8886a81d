"""Stored features to figures: of one cell, and of the difference between two. Knows no network and no page."""
