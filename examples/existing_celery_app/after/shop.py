"""The same Celery app on Sealwax's transport."""

import os

from celery import Celery

app = Celery("shop", broker="sealwax://", task_cls="sealwax.transport:Task")
app.conf.broker_transport_options = {
    "region": os.environ.get("AWS_REGION", "us-east-1"),
    "lease": 30,
    "predefined_queues": {"orders": {"url": os.environ["ORDERS_QUEUE_URL"]}},
}
app.conf.task_default_queue = "orders"
app.conf.worker_prefetch_multiplier = 8


@app.task(bind=True, max_retries=5)
def confirm(self, order: int, path: str) -> None:
    """Confirm an order: here, by a line in a file. Order 13 fails once."""
    if order == 13 and self.request.retries == 0:
        raise self.retry(countdown=1)
    with open(path, "a") as file:
        file.write(f"{order}\n")
