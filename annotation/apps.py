from django.apps import AppConfig


class AnnotationConfig(AppConfig):
    name = "annotation"

    def ready(self) -> None:
        from accounts import profiles
        from annotation import export_jobs, freeze_jobs, hubs, kinds, memberships

        kinds.register()
        freeze_jobs.register()
        export_jobs.register()
        hubs.register()
        profiles.changed.connect(memberships.refresh_when_profile_changes, dispatch_uid="annotation.memberships")
