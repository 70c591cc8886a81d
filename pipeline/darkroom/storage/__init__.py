"""Whole objects under keys, on disk or in S3, put at most once where it matters."""
