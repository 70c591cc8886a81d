"""What Darkroom talks about: identity, cells, prompt rows, shards, errors. Standard library only, nothing of ours."""
