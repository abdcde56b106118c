"""The machine-learning side of Rounds, one attempt folder at a time.

``python -m training.engine ATTEMPT_DIR`` reads ``spec.json`` and ``inputs/``, appends ``events.jsonl`` and writes
``result.json`` last. Nothing here knows Django, a database or settings. The modules ``spec``, ``rundir``, ``errors``,
``toytext``, ``family`` and ``presets`` need the standard library only, so that a web process can import them.
"""
