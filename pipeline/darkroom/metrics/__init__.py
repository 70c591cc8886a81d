"""How good images are: algebra on their features and scores. Knows numpy alone; no models, files or stores."""
