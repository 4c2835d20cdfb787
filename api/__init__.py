"""This service's HTTP application: composes `sealwax.web` with what is its own.

What a team copies and changes. The product never imports it: `sealwax api`
finds it by the setting `app`, a WSGI server by `api.wsgi`.
"""

from api.app import create_app

__all__ = ["create_app"]
