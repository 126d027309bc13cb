"""What a process counts and how long it takes, for Prometheus."""
