"""Who calls, and whether the caller may: signatures, keys, polls."""
