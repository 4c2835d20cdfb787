"""The Django settings of tenant-schemas-celery's program."""

import os

SECRET_KEY = "none"
USE_TZ = True
INSTALLED_APPS = ["tenants"]
DATABASES = {
    "default": {
        "ENGINE": "tenants.sqlite",
        "NAME": os.environ["ADDON_FOLDER"] + "/db.sqlite3",
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TENANT_MODEL = "tenants.Tenant"
