"""Who may call what, how often, and what is counted of it."""
