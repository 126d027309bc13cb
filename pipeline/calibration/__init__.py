"""From cosine to false-match rate, confidence and distance; one table per recognition model."""
