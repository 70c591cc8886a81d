"""Features to figures: formulas (numpy alone), the catalogue of metrics, figures, gaps and their tables."""
