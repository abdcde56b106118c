"""What is said of a file or folder that Rounds does not take. Standard library only: the child that looks at foreign files says it too."""


class Refused(Exception):
    """A file or folder that Rounds does not take. `code` is stable, `file` is its name in the folder, `message` says what to do."""

    def __init__(self, code: str, file: str, message: str) -> None:
        super().__init__(f"{file}: {message}" if file else message)
        self.code = code
        self.file = file
        self.message = message
