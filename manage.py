#!/usr/bin/env python3
"""Django's command line, with the embedded services started first where no others are named."""

import os
import sys

# Commands that touch neither the database nor the broker start nothing.
WITHOUT_SERVICES = {"help", "version", "--help", "-h", "--version", "services", "up", "doctor", "makemessages", "collectstatic"}


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.dev")
    command = sys.argv[1] if len(sys.argv) > 1 else "help"
    from config import embedded

    if command in WITHOUT_SERVICES or "--help" in sys.argv or "-h" in sys.argv:
        embedded.name_endpoints()
    else:
        embedded.provide()
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
