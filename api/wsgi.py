"""The WSGI entry, for any server: `gunicorn -c api/gunicorn.conf.py api.wsgi:app`.

`sealwax api` does the same with the same configuration.
"""

from __future__ import annotations

from api.app import create_app
from sealwax.settings import load_settings
from sealwax.web.serve import start_background

__all__ = ["app"]

app = create_app(load_settings())
start_background(app)
