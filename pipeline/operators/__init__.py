"""The people and programs that operate the service: accounts, sessions, the audit log."""
