"""Downloads pictures from public internet addresses only."""
