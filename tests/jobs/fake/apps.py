from django.apps import AppConfig


class FakeConfig(AppConfig):
    name = "tests.jobs.fake"
    label = "fake"

    def ready(self) -> None:
        from tests.jobs.fake import kind

        kind.register()
