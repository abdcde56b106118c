"""One module a kind of job, each with ``run(attempt) -> Outcome``; imported only when its kind runs."""
