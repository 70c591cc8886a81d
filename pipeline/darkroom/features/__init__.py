"""Pixels to feature vectors, and pictures to scores. Knows no store, no run, no rendering and no metric."""
