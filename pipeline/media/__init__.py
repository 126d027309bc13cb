"""Media stores (a directory or S3), and readers of picture and clip headers."""
