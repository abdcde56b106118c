from django.apps import AppConfig


class TrainingConfig(AppConfig):
    name = "training"

    def ready(self) -> None:
        from annotation import freeze_jobs
        from jobs import sweeper
        from modelhub import cards as modelcards
        from training import cards, endpoints, evidence_jobs, kinds, loop_freezing, loop_rounds, specs, studies

        kinds.register()
        evidence_jobs.register()
        studies.listen()
        modelcards.register(cards.write)
        sweeper.also_look("studies", lambda: {"studies_moved": studies.mend()}, every=20)
        sweeper.also_look("loops", loop_rounds.look)
        freeze_jobs.ask_before(loop_freezing.BEFORE, loop_rounds.enough)
        sweeper.also_forget("stored log-probabilities' files", specs.forget_references)
        endpoints.allowed()  # settings that are wrong stop the start
