"""The web: documented vendor APIs in, jobs out. Knows no task, no model, no index."""
