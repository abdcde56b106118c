"""What can go wrong around a job. Each name is a decision for whoever catches it."""


class LeaseLost(Exception):
    """The job is no longer ours: another claim, an expired lease or an ended job. Stop, and write nothing more."""


class Cancelled(Exception):
    """Someone asked for the job to stop while we held it: stop the child, then acknowledge."""


class Unprepared(Exception):
    """A job cannot be started as it was asked for. It fails at once: trying again would not help.

    `code` is stable; `message` says what to do and holds no clinical text.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class EngineFailed(Exception):
    """The child said that it failed, or ended without saying anything. `retryable`: the same job may succeed later."""

    def __init__(self, code: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retryable = retryable


class NotCancellable(Exception):
    """The job has ended already; nothing was changed."""
