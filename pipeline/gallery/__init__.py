"""Enrolled faces: images, vectors, collections, the change log, deleted objects."""
