"""The Django settings of the programs that need them: SQLite in the run's folder."""

import os

FOLDER = os.environ["ADDON_FOLDER"]

SECRET_KEY = "none"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", "django_celery_results", "django_structlog"]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER + "/db.sqlite3"},
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DJANGO_STRUCTLOG_CELERY_ENABLED = True
