"""A Flask app whose Celery tasks run in its context, on Sealwax's transport."""

import os

import celery
from flask import Flask, current_app

import sealwax.transport  # noqa: F401 - makes "sealwax://" known where Sealwax is not installed


def create_app() -> Flask:
    """Make the Flask app, with its Celery app in `extensions`."""
    flask_app = Flask("shop")
    flask_app.config["ORDERS_FILE"] = os.environ["ORDERS_FILE"]

    class ContextTask(celery.Task):
        """A task in the Flask app's context: a plain Celery class, as before."""

        def __call__(self, *args: object, **kwargs: object) -> object:
            with flask_app.app_context():
                return self.run(*args, **kwargs)

    celery_app = celery.Celery("shop", broker="sealwax://", task_cls=ContextTask)
    celery_app.conf.broker_transport_options = {
        "predefined_queues": {"orders": {"url": os.environ["ORDERS_QUEUE_URL"]}},
    }
    celery_app.conf.task_default_queue = "orders"
    celery_app.set_default()
    flask_app.extensions["celery"] = celery_app
    return flask_app


@celery.shared_task
def confirm(order: int) -> None:
    """Confirm an order: here, by a line in the app's file. Order 13 fails for good."""
    if order == 13:
        raise ValueError("nobody ships on this day")
    with open(current_app.config["ORDERS_FILE"], "a") as file:
        file.write(f"{order}\n")


app = create_app().extensions["celery"]
