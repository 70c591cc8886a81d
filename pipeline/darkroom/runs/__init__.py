"""One folder of output: what it is, its records, and the manifests that make shards visible."""
