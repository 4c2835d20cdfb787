"""gunicorn's configuration of this service; every name below is a setting of gunicorn."""

from sealwax.web.serve import gunicorn_options

globals().update(gunicorn_options(host="0.0.0.0", port=8080, workers=1, threads=16))  # noqa: S104 - in a container
