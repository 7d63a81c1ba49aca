"""The child's own typed failure: its code is the value of an errors.ErrorCode, which this program cannot import."""


class Failure(Exception):
    """One asset cannot be rendered. The process is fine and takes the next one."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
