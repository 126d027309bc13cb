"""The queue: Celery only rings the bell, jobs live in SQL."""
