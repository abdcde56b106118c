from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        # Both are found by being imported: the schema's extension, and the receivers of allauth's signals.
        from accounts import openapi, signals  # noqa: F401
