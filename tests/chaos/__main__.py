"""`python -m chaos`: one run of the chaos suite; exit code 1 where a count is not 0."""

from __future__ import annotations

import argparse
import importlib.util
import json
import secrets
import sys
import tempfile
from pathlib import Path

from chaos.plan import make_plan


def has_stewards() -> bool:
    """Whether this version of the product has the role."""
    return importlib.util.find_spec("sealwax.cli.steward") is not None


def main() -> int:
    """Read the options, run, return the exit code."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="default: a random one, printed")
    parser.add_argument("--minutes", type=float, default=5.0, help="before it drains")
    parser.add_argument("--jobs", type=int, help="default: 1,000 a minute")
    parser.add_argument("--plan", action="store_true", help="print the plan and do nothing")
    parser.add_argument("--calm", action="store_true", help="no faults")
    parser.add_argument("--wholesome", action="store_true", help="no poison")
    parser.add_argument(
        "--stock", choices=["defaults", "advised"], help="the same on stock Celery and kombu"
    )
    parser.add_argument("--folder", type=Path, help="keep logs and figures here")
    options = parser.parse_args()
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    plan = make_plan(
        seed,
        minutes=options.minutes,
        jobs=options.jobs,
        faults=not options.calm,
        poison=not options.wholesome,
        stewards=has_stewards() and options.stock is None,
    )
    if options.plan:
        print(json.dumps(plan.document(), indent=1))
        return 0
    # It starts the product; printing a plan needs none of it.
    from chaos.stock import AdvisedSuite, StockSuite
    from chaos.suite import Suite

    kinds = {None: Suite, "defaults": StockSuite, "advised": AdvisedSuite}

    folder = options.folder or Path(tempfile.mkdtemp(prefix="sealwax-chaos-"))
    print(f"seed {seed}, {len(plan.submissions)} submissions, {len(plan.events)} events, {folder}")
    run = kinds[options.stock](plan, folder, lambda line: print(line, flush=True))
    counts = run.run()
    failed = [one.name for one in counts if not one.passed]
    print(f"seed {seed}: " + (f"FAILED: {'; '.join(failed)}" if failed else "all counts are 0"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
