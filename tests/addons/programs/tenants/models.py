"""The tenants, and rows of theirs."""

from django.db import models


class Tenant(models.Model):
    schema_name = models.CharField(max_length=63, unique=True)

    class Meta:
        app_label = "tenants"
