"""One file for each documented API: requests in, envelopes out."""
