"""What stops a demonstration."""


class DemoError(Exception):
    """The demonstration cannot begin or go on. The message says why and what to do."""
