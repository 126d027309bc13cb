"""Operations: the command, the embedded stack, compose and image."""
