"""What the processes of a deployment have in common, and which of them run."""
