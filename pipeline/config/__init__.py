"""The settings, and where data is stored."""
