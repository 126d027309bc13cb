"""Vector search per tenant: in-memory views of the change log, persisted as snapshots."""
