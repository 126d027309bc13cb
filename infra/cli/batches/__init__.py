"""How batches are shown: progress, summary, findings and report of batches."""
