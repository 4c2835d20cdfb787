"""A database backend that knows the schema it is in, as django-tenants' for PostgreSQL does.

SQLite has no schemas: what is compared is which one a task finds itself in.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from django.db.backends.sqlite3 import base


class DatabaseWrapper(base.DatabaseWrapper):
    include_public_schema = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.set_schema_to_public()

    def set_tenant(self, tenant: Any, include_public: bool = True) -> None:
        self.tenant = tenant
        self.schema_name = tenant.schema_name
        self.include_public_schema = include_public

    def set_schema(self, schema_name: str, include_public: bool = True, **_: Any) -> None:
        self.set_tenant(SimpleNamespace(schema_name=schema_name), include_public)

    def set_schema_to_public(self) -> None:
        self.set_schema("public")
