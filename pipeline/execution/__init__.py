"""Running a job: the data that its stages share, the stages, and the end of each operation."""
