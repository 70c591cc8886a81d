"""What does the work: planning of shards, the worker that renders and commits them, and the dispatchers."""
