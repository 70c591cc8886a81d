"""The files that models are made of: their digests, and the proof that they are what was loaded."""
