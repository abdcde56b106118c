"""What can go wrong, each with what to do about it in its message."""


class EmbeddedError(RuntimeError):
    """An embedded service cannot be provided. The message says why and what to do."""
