"""Where pictures for many enrolments come from: folders, manifests, archives, buckets."""
