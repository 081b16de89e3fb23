"""``python -m examples.orders.buy``: a customer. One call, however often the network or the shop fails meanwhile."""

from __future__ import annotations

import argparse
import sys

from formicary.idempotency import Calling, IdempotentClient, Outbox, Retry


def main() -> int:
    """Buys. Returns 0 bought, 1 refused, 75 no answer yet (start again with the same outbox)."""
    parser = argparse.ArgumentParser(prog="python -m examples.orders.buy", description="Buys something, once.")
    parser.add_argument("--server", default="http://127.0.0.1:8080", help="address of the shop (default %(default)s)")
    parser.add_argument("--sku", default="tea")
    parser.add_argument("--quantity", type=int, default=1)
    parser.add_argument("--card", default="4242")
    parser.add_argument("--outbox", default="outbox.db", help="where the intent is kept (default %(default)s)")
    args = parser.parse_args()
    wanted = {"sku": args.sku, "quantity": args.quantity, "card": args.card}
    with (
        IdempotentClient(Calling(Retry(tries=30, most_s=2.0)), base_url=args.server) as client,
        Outbox(args.outbox, client) as outbox,
    ):
        done = outbox.resume() or [outbox.send("POST", "/orders", json=wanted)]
        for intent in done:
            if intent.answer is None:
                print(f"no answer yet: {intent.problem}", file=sys.stderr)
                return 75
            print(intent.answer.status, intent.answer.body.decode())
            outbox.acknowledge(intent.key)
    return 0 if all(intent.answer and intent.answer.status < 400 for intent in done) else 1


if __name__ == "__main__":
    sys.exit(main())
