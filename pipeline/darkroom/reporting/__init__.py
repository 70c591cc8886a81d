"""The page that people look at, from stored results alone."""
