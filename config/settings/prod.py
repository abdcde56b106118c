"""Behind a TLS proxy: every secret and host must be named, cookies travel encrypted only."""

from .base import *  # noqa: F403
from .base import env

SECRET_KEY = env.str("ROUNDS_SECRET_KEY")
DEBUG = False
ALLOWED_HOSTS: list[str] = env.list("ROUNDS_ALLOWED_HOSTS")
CSRF_TRUSTED_ORIGINS: list[str] = env.list("ROUNDS_TRUSTED_ORIGINS", [])
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# How many proxies add to X-Forwarded-For; limits on wrong passwords and links count by the address this gives.
ALLAUTH_TRUSTED_PROXY_COUNT: int = env.int("ROUNDS_TRUSTED_PROXIES", 0)
SECURE_SSL_REDIRECT = True
SECURE_HSTS_SECONDS = 31_536_000
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
# Promises about every subdomain of a hospital's domain, and entries in browsers' lists, are not ours to make.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
