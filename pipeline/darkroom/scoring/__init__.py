"""Scores committed images: pixels to features, shard by shard. Knows no Ray and no metric."""
