"""What people look at. Reads stored results only."""
