"""Generated from examples/payments/proto by `python -m examples.payments.generate`."""
