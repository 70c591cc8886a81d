"""Which shards are left, and the rows that they need."""
