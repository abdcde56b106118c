"""Settings by place: dev (the default of manage.py), test, prod; what they share is in base."""
