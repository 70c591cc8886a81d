"""Configuration: YAML groups and the schema that gives their keys names and types."""
