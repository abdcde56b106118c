from django.apps import AppConfig


class ConfigConfig(AppConfig):
    name = "config"

    def ready(self) -> None:
        # Makes our Celery app the current one wherever Django runs: without it a web process would ring some other broker's bell.
        from config import celery  # noqa: F401
