from django.apps import AppConfig


class ModelHubConfig(AppConfig):
    name = "modelhub"
