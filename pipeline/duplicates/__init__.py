"""One person under two names, two people under one name: searched among vectors."""
