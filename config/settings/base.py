"""What every place shares. Everything that differs between places is read here, from the environment, and a wrong value stops the start."""

from pathlib import Path
from typing import Any

from csp.constants import NONE, SELF
from environs import Env
from marshmallow.validate import OneOf, Range

env = Env()
PROJECT = Path(__file__).resolve().parent.parent.parent

# Where weights, attempts, exports, logs and the embedded services live.
DATA_DIR: Path = env.path("ROUNDS_DATA_DIR", PROJECT / "data")

# manage.py, the supervisor and the tests name the embedded PostgreSQL and Redis here when the environment names none.
DATABASES = {"default": {**env.dj_db_url("DATABASE_URL"), "ATOMIC_REQUESTS": False, "CONN_HEALTH_CHECKS": True}}
if not DATABASES["default"]["ENGINE"].endswith("postgresql"):
    raise ValueError("DATABASE_URL must name a PostgreSQL database: Rounds keeps its promises with constraints that only PostgreSQL has.")
DATABASES["default"].setdefault("OPTIONS", {})
# What web.statements sends stays planned on its connection, one plan for all values; Django's own statements are never prepared.
DATABASES["default"]["OPTIONS"].setdefault("prepare_threshold", 0)
DATABASES["default"]["OPTIONS"].setdefault("options", "-c plan_cache_mode=force_generic_plan")
# A server that went without a word (a cut cable, a black hole) is noticed in seconds, not in the quarter of an hour TCP would wait.
DATABASES["default"]["OPTIONS"].setdefault("connect_timeout", 5)
DATABASES["default"]["OPTIONS"].setdefault("tcp_user_timeout", 15_000)
# A pool in the web process only: Celery's prefork children must not share connections.
if env.bool("ROUNDS_DB_POOL", False):
    DATABASES["default"]["CONN_MAX_AGE"] = 0
    DATABASES["default"]["OPTIONS"]["pool"] = {"min_size": 1, "max_size": env.int("ROUNDS_DB_POOL_SIZE", 8), "timeout": 10}
CELERY_BROKER_URL: str = env.str("CELERY_BROKER_URL")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django_htmx",
    "template_partials",
    "csp",
    "pgtrigger",
    "allauth",
    "allauth.account",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "web",
    "accounts",
    "jobs",
    "modelhub",
    "annotation",
    "training",
    "config",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "web.middleware.RequestIdMiddleware",
    "web.middleware.PrivacyHeadersMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "accounts.middleware.ForgetOnSignOutMiddleware",
    # Last, so that it sees the view: a view that names no decision is denied.
    "accounts.middleware.DefaultDenyMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [PROJECT / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "accounts.context.roles",
            ],
        },
    }
]

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["accounts.backends.SessionBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "training:home"
LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_ADAPTER = "accounts.adapter.ClosedDoorAdapter"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_ON_GET = False
# A link to a new passphrase, made by an administrator, works for a day.
PASSWORD_RESET_TIMEOUT = 86_400
# How long after giving the passphrase somebody may do what asks for it again (a full export).
ACCOUNT_REAUTHENTICATION_TIMEOUT = 600
ACCOUNT_RATE_LIMITS = {"login": "60/m/ip", "login_failed": "10/m/ip,5/5m/key"}

LANGUAGE_CODE = "en-gb"
TIME_ZONE = env.str("ROUNDS_TIME_ZONE", "UTC")
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
STATIC_ROOT = PROJECT / "staticfiles"
STATICFILES_DIRS = [PROJECT / "static"]

CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
SESSION_ENGINE = "accounts.sessions"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 2**20
FILE_UPLOAD_MAX_MEMORY_SIZE = 2 * 2**20

# Nothing from elsewhere, nothing inline: model text is hostile text.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.tokens.TokenAuthentication", "rest_framework.authentication.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.permissions.ScopedRole"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["web.parsers.ShallowJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_PAGINATION_CLASS": "web.pagination.CursorByNewest",
    "PAGE_SIZE": 50,
    "EXCEPTION_HANDLER": "web.problems.exception_handler",
    "DEFAULT_THROTTLE_CLASSES": ["rest_framework.throttling.AnonRateThrottle", "rest_framework.throttling.UserRateThrottle"],
    # A guard against runaway scripts, counted in each web process; a clinician at full speed makes two requests a pair.
    "DEFAULT_THROTTLE_RATES": {"anon": env.str("ROUNDS_API_RATE_ANONYMOUS", "30/min"), "user": env.str("ROUNDS_API_RATE", "600/min")},
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Rounds",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SERVE_PERMISSIONS": ["accounts.permissions.SignedIn"],
    # No badge from a validator on the internet.
    "SWAGGER_UI_SETTINGS": {"validatorUrl": None, "deepLinking": True},
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "SeverityEnum": "annotation.models.judging.Severity",
        "HarmEnum": "annotation.models.judging.Harm",
        "SideEnum": "annotation.serializers.SIDES",
    },
}

# What runs on compute: a child process a job, supervised by one worker slot each.
ROUNDS_ENGINE_THREADS: int = env.int("ROUNDS_ENGINE_THREADS", 1)
# Processes that train one DPO run together, each with as many threads and, where there are GPUs, a GPU of its own.
ROUNDS_ENGINE_PROCESSES: int = env.int("ROUNDS_ENGINE_PROCESSES", 1, validate=Range(1, 64))
# Memory of one GPU in GB (10^9 bytes), where training happens on one: what preflight compares a run with. 0: none, RAM counts.
ROUNDS_GPU_MEMORY_GB: float = env.float("ROUNDS_GPU_MEMORY_GB", 0.0)
# What a run's estimate says it costs: the machine's draw under load, and the price of an hour of it where there is one.
ROUNDS_WATTS: float = env.float("ROUNDS_WATTS", 100.0)
ROUNDS_HOUR_PRICE: float = env.float("ROUNDS_HOUR_PRICE", 0.0)
ROUNDS_CURRENCY: str = env.str("ROUNDS_CURRENCY", "EUR")
# Servers that may answer prompts in place of a model of ours (training/endpoints.py). Nobody types an address into a page.
ROUNDS_GENERATION_ENDPOINTS: Any = env.json("ROUNDS_GENERATION_ENDPOINTS", {})
# Files of evaluation texts, one a line or as values of JSON Lines: synthetic samples that resemble them are dropped (docs/synthesis.md).
ROUNDS_EVALUATION_TEXTS: list[str] = env.list("ROUNDS_EVALUATION_TEXTS", [])
# A hub that data sets are pushed to, off by default: {"endpoint": address, "space": account or organisation}, and its token.
ROUNDS_HUB: Any = env.json("ROUNDS_HUB", {})
ROUNDS_HUB_TOKEN: str = env.str("ROUNDS_HUB_TOKEN", "")
ROUNDS_LEASE_SECONDS: int = env.int("ROUNDS_LEASE_SECONDS", 60)
ROUNDS_HEARTBEAT_SECONDS: float = env.float("ROUNDS_HEARTBEAT_SECONDS", 2.0)
# Pauses after one, two, three and more attempts without progress; and between two looks whether a paused job has room by now.
ROUNDS_BACK_OFF: list[float] = env.list("ROUNDS_BACK_OFF", [10.0, 60.0, 300.0], subcast=float)
ROUNDS_PAUSE_SECONDS: float = env.float("ROUNDS_PAUSE_SECONDS", 15.0)
# A child that appends no event for so long is taken for hung. Loading a large model from a slow disk takes many minutes.
ROUNDS_SILENT_SECONDS: float = env.float("ROUNDS_SILENT_SECONDS", 3600.0)
# What a child may have (jobs/confinement.py). Memory of it and all it starts, in GB (10^9 bytes): unset 90 % of the machine's, 0 no limit.
# The size of one file it makes. Its network: "cut" where this machine can, "required" (no job begins where it cannot), "open".
ROUNDS_CHILD_MEMORY_GB: float | None = env.float("ROUNDS_CHILD_MEMORY_GB", None, validate=Range(0))
ROUNDS_CHILD_FILE_GB: float = env.float("ROUNDS_CHILD_FILE_GB", 200.0, validate=Range(0, min_inclusive=False))
ROUNDS_CHILD_NETWORK: str = env.str("ROUNDS_CHILD_NETWORK", "cut", validate=OneOf(("cut", "required", "open")))
# No attempt begins with less room than this on the volume of the data folder.
ROUNDS_MIN_FREE_BYTES: int = env.int("ROUNDS_MIN_FREE_BYTES", 256 * 2**20)
# How long an ended job's inputs, outputs and answers, which hold clinical text, stay in its folder. Its log, spec and result stay.
ROUNDS_KEEP_ATTEMPT_HOURS: float = env.float("ROUNDS_KEEP_ATTEMPT_HOURS", 72.0)
# Stored reference log-probabilities: what was not used for so many days goes, and of the rest what was used longest ago beyond so many GB.
ROUNDS_KEEP_REFERENCES_DAYS: float = env.float("ROUNDS_KEEP_REFERENCES_DAYS", 90.0, validate=Range(0))
ROUNDS_KEEP_REFERENCES_GB: float = env.float("ROUNDS_KEEP_REFERENCES_GB", 10.0, validate=Range(0))
# Several hosts: where model files are shared (a folder, s3://bucket/path, whatever fsspec opens), and a folder all of them see, where
# checkpoints are kept so that another host can go on from them. Empty: this machine's DATA_DIR is all there is.
ROUNDS_ARTIFACT_STORE: str = env.str("ROUNDS_ARTIFACT_STORE", "")
ROUNDS_SHARED_DIR: str = env.str("ROUNDS_SHARED_DIR", "")
# This machine's name among the workers' machines, and its GPUs as CUDA_VISIBLE_DEVICES names them ("none" for none); usually found out.
ROUNDS_HOST: str = env.str("ROUNDS_HOST", "")
ROUNDS_GPUS: str = env.str("ROUNDS_GPUS", "")
# What an import may bring: bytes of a file as it is sent, bytes once unpacked, rows; and the folder on the server from which trainers may
# choose files by name (unset: incoming-data in DATA_DIR). Up to so many bytes it is done while the page waits, without a job.
ROUNDS_IMPORT_MAX_BYTES: int = env.int("ROUNDS_IMPORT_MAX_BYTES", 16 * 2**30, validate=Range(1))
ROUNDS_IMPORT_MAX_UNPACKED: int = env.int("ROUNDS_IMPORT_MAX_UNPACKED", 64 * 2**30, validate=Range(1))
ROUNDS_IMPORT_MAX_ROWS: int = env.int("ROUNDS_IMPORT_MAX_ROWS", 10_000_000, validate=Range(1))
ROUNDS_IMPORT_FOLDER: Path = env.path("ROUNDS_IMPORT_FOLDER", DATA_DIR / "incoming-data")
ROUNDS_IMPORT_AT_ONCE_BYTES: int = env.int("ROUNDS_IMPORT_AT_ONCE_BYTES", 2 * 2**20, validate=Range(0))
# So many judged pairs are frozen while the page waits; more by a job.
ROUNDS_FREEZE_AT_ONCE: int = env.int("ROUNDS_FREEZE_AT_ONCE", 5000, validate=Range(0))
ROUNDS_DEMO: bool = env.bool("ROUNDS_DEMO", False)
# Whether somebody else has to promote what one launched, or started a study of (training/promotions.py).
ROUNDS_TWO_PERSON_PROMOTIONS: bool = env.bool("ROUNDS_TWO_PERSON_PROMOTIONS", False)
# What invited people are told about the texts: "synthetic", "real", or nothing, and then whoever invites says it.
ROUNDS_DATA: str = env.str("ROUNDS_DATA", "", validate=OneOf(("", "synthetic", "real")))

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.str("ROUNDS_LOG_LEVEL", "INFO", validate=OneOf(("DEBUG", "INFO", "WARNING", "ERROR")))},
}
