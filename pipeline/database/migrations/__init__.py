"""Alembic's scripts; run by ``pipeline.database.migrate`` only."""
