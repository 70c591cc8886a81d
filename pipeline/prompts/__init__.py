"""Prompt datasets: files, tables and templates, checked as a whole and read block by block. `source` is the front door."""
