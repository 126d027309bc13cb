"""Backups: copies of a deployment, their restore, and the move to other stores."""
