"""Jobs: their states, their changes, their storage."""
