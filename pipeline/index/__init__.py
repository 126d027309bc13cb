"""Search among the vectors of a tenant: a view of the change log, kept as snapshots."""
