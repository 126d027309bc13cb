"""The pages of ``docs/``, which the package brings along: read, rendered, searched."""
