"""Sources of pictures: folders, manifests, archives, buckets."""
