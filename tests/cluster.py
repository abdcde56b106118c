"""Names the services the tests use, before Django reads its settings: a fast cluster of their own, unless the environment names some.

The last test process to end stops it; a crash leaves nothing that the next run would not clean up.
"""

from pathlib import Path

from config import embedded

embedded.provide(data_dir=Path(__file__).resolve().parent.parent / "data" / "tests", throwaway=True)
