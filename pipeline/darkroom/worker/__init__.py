"""Renders shards and commits them. Knows no Ray."""
