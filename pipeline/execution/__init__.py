"""Running a job: what travels through its stages, the stages, and how each operation ends."""
