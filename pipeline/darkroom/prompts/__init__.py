"""Prompt datasets: files, tables and templates, checked whole, read in blocks. `source` is the front door."""
