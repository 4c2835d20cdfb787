"""gunicorn's configuration of this service; every name below is a setting of gunicorn."""

from sealwax.web.serve import gunicorn_options

# In a container.
_EVERYWHERE = "0.0.0.0"  # noqa: S104

globals().update(
    gunicorn_options(host=_EVERYWHERE, port=8080, workers=1, threads=16, health_port=8081)
)
