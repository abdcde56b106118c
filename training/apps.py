from django.apps import AppConfig


class TrainingConfig(AppConfig):
    name = "training"

    def ready(self) -> None:
        from jobs import sweeper
        from training import endpoints, kinds, specs

        kinds.register()
        sweeper.also_forget("stored log-probabilities' files", specs.forget_references)
        endpoints.allowed()  # settings that are wrong stop the start
