"""The outermost layer: settings, URLs, the Celery app, the embedded services and the command that runs them all."""
