"""What a person can do with Darkroom: one short file a job. Parse, build, call."""
