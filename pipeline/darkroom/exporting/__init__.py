"""A run handed over as a dataset."""
