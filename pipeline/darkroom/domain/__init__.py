"""What Darkroom talks about: identity, cells, prompt rows, shards, records, errors. Standard library only."""
