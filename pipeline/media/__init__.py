"""Where pictures are kept: a directory or an S3 store, behind one seam."""
