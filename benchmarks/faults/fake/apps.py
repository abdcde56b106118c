"""What every process with the harness's settings gets at its start: the kind, the hurry and the mutants it was told of."""

from django.apps import AppConfig


class FaultsConfig(AppConfig):
    name = "benchmarks.faults.fake"
    label = "faults"

    def ready(self) -> None:
        from benchmarks.faults import mutants
        from benchmarks.faults.fake import hurry, kind

        kind.register()
        hurry.install()
        mutants.install()
