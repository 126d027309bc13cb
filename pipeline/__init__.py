"""The domain: models, stages, galleries, jobs. Knows no Celery and no web."""
