from django.apps import AppConfig


class TrainingConfig(AppConfig):
    name = "training"

    def ready(self) -> None:
        from training import endpoints, kinds

        kinds.register()
        endpoints.allowed()  # settings that are wrong stop the start
