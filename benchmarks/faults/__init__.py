"""The fault harness, `make faults`: real PostgreSQL, Redis and Celery are killed, cut and starved, and the books must balance afterwards.

One module a lane. Every lane prints its seed, writes a history (who asked for what, and what they were told) and is judged by
`checker`, which compares history and files with the final database. `mutants` breaks the product on purpose and expects red.
"""
