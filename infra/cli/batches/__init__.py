"""`faceline batches`: listing, showing and ending batches, and their progress."""
