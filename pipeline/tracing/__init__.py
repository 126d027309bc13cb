"""Traces: the way of one call through the processes, for a collector of OpenTelemetry."""
