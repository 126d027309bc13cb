"""`faceline enroll`: enrolling a whole source of pictures."""
