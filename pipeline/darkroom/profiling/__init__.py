"""Where the time of a job went: spans of its stages, a table of them, and a trace to look at. Knows no stage's work."""
