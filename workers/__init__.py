"""The queue: Celery only notifies workers, jobs are kept in SQL."""
