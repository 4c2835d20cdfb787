"""The same job on taskiq-aio-sqs; coroutines stand for the senders' threads."""

from __future__ import annotations

import asyncio
import os
import sys
import time

import common
from taskiq_aio_sqs import SQSBroker

broker = SQSBroker(
    common.QUEUE,
    endpoint_url=os.environ["AWS_ENDPOINT_URL"],
    region_name="us-east-1",
    aws_access_key_id="x",
    aws_secret_access_key="x",
    wait_time_seconds=20,
    max_number_of_messages=10,
    enable_batching=os.environ.get("BENCH_BATCHING") == "1",
    batch_timeout=0.1,
)


@broker.task
async def noop(payload: str, sent: float = 0.0) -> None:  # noqa: ARG001 - its size is measured
    common.note(sent)


async def send(senders: int, jobs: int, pause: float) -> None:
    """Send from coroutines and report."""
    await broker.startup()
    await noop.kiq(common.PAYLOAD)
    latencies: list[float] = []

    async def run() -> None:
        for _ in range(jobs // senders):
            began = time.perf_counter()
            await noop.kiq(common.PAYLOAD, time.time() if pause else 0.0)
            latencies.append(time.perf_counter() - began)
            if pause:
                await asyncio.sleep(pause)

    began, used = time.perf_counter(), common.cpu()
    await asyncio.gather(*(run() for _ in range(senders)))
    await broker.shutdown()
    common.report(time.perf_counter() - began, common.cpu() - used, latencies)


if __name__ == "__main__":
    if sys.argv[1] == "bulk":
        asyncio.run(send(1, int(sys.argv[2]), 0.0))
    else:
        asyncio.run(send(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
