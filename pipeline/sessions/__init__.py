"""Model packs: found, checked, fetched and run. The only door to the model libraries."""
