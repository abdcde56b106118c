"""What a person can do about a job that failed, by the code of its error. Codes of an engine's own carry their advice in their message."""

ADVICE = {
    "no_progress": "Read the log below for the cause, remove it, and ask for the work again. Other jobs are not held up.",
    "too_many_attempts": "Each try came further, and something ends each. Read the log below for it, and ask for the work again.",
    "silent": "It hung, or a step of it takes longer than ROUNDS_SILENT_SECONDS allows. It is tried again by itself.",
    "database_away": "It is tried again by itself, from its newest checkpoint.",
    "quota": "Free some of what this account keeps on that disk, or have its quota raised. It goes on by itself.",
    "no_result": "It is tried again by itself. If memory ran out, close other programs or ask for less at once.",
    "bad_result": "The trainer broke its contract. Read the log below; a new version of Rounds may be half installed.",
    "bad_exit": "It is tried again by itself. Read the log below if it happens again.",
    "lease_expired": "Its worker died or the machine slept. It is tried again by itself.",
    "predecessor_failed": "Look at the job it needed, remove that cause, and ask for the work again.",
    "unknown_kind": "The worker runs another version of Rounds than this page. Restart the worker, and ask again.",
    "internal_error": "Read the log below and the worker's log. The place named above is where to look.",
    "io_error": "The disk, or the network it is reached by, failed. It is tried again by itself; if it comes again, look at the disk.",
    "disk_full": "Free some space there. It goes on by itself, from its newest checkpoint, as soon as there is enough.",
    "out_of_memory": "Ask for smaller batches or shorter texts, or a machine with more memory (ROUNDS_CHILD_MEMORY_GB: a job's share).",
    "file_too_large": "Raise ROUNDS_CHILD_FILE_GB for the worker if a file of this size is meant, and ask for the work again.",
    "network_not_cut": "Look at what manage.py doctor says on the worker's machine, or set ROUNDS_CHILD_NETWORK=cut there.",
    "not_confined": "It is tried again by itself. If it comes again, manage.py doctor on the worker's machine says more.",
}
OTHERWISE = "Remove the cause named above, and ask for the work again."


def for_code(code: str) -> str:
    """One or two sentences, or an empty string when nothing failed."""
    return ADVICE.get(code, OTHERWISE) if code else ""
