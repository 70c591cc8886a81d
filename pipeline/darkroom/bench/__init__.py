"""Measures this project against its ceilings and against other ways to do the same, as ratios within one run."""
