"""What is kept of deletions: the journal outside the database, and signed receipts."""
