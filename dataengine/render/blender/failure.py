"""The two ways in which a request is not fulfilled: the asset cannot be rendered, or this machine cannot."""


class Failure(Exception):
    """One asset cannot be rendered. The process is fine and takes the next one.

    `code` is the value of an errors.ErrorCode, which this program cannot import.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Unable(Exception):
    """What was asked for does not work on this machine, whatever the asset: no such device, a library is missing."""
