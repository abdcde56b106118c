"""What can go wrong around a job. Each name is a decision for whoever catches it."""


class LeaseLost(Exception):
    """The job is no longer ours: another claim, an expired lease or an ended job. Stop, and write nothing more."""


class Cancelled(Exception):
    """Someone asked for the job to stop while we held it: stop the child, then acknowledge."""


class WorkerStops(Exception):
    """This worker was told to stop: give the job back at once, so that another need not wait for the lease to end."""


class Unprepared(Exception):
    """A job cannot be started as it was asked for. It fails at once: trying again would not help.

    `code` is stable; `message` says what to do and holds no clinical text.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class EngineFailed(Exception):
    """The child said that it failed, or ended without saying anything. `retryable`: the same job may succeed later.

    `need_bytes`: how much room it wanted, when it was the disk.
    """

    def __init__(self, code: str, message: str, *, retryable: bool = False, need_bytes: int = 0, exit_code: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retryable = retryable
        self.need_bytes = need_bytes
        self.exit_code = exit_code


class NoRoom(Exception):
    """The volume of the data folder has less room than is needed. The job is paused, and goes on by itself when there is."""

    def __init__(self, need: int) -> None:
        super().__init__(f"{need} bytes")
        self.need = need


class DeviceBusy(Exception):
    """This machine has GPUs, and every one is held: the job waits for one."""


class NotCancellable(Exception):
    """The job has ended already; nothing was changed."""


class NothingToKeep(Exception):
    """The job cannot stop and keep what it has: it has not begun, or is of a kind that ends whole or not at all."""


class NotRepeatable(Exception):
    """The job did not fail, or what it needs is not there any more; nothing was asked for."""
