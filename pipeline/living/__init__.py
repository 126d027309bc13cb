"""Whether a clip shows a live person who does what was asked."""
