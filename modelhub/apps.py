from django.apps import AppConfig


class ModelHubConfig(AppConfig):
    name = "modelhub"

    def ready(self) -> None:
        from modelhub import kinds

        kinds.register()
