"""Images to feature vectors, and to scores: extractors, their networks, plug-ins."""
