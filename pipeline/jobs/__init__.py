"""Jobs: what they are, how they may change, where they are kept."""
