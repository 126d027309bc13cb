"""Celery tasks: decode the message, call the pipeline, hand on."""
