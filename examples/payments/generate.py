"""Generates examples/payments/v1 from examples/payments/proto: ``python -m examples.payments.generate``.

It needs grpcio-tools.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RAISE = f"        raise {NotImplementedError.__name__}('Method not implemented!')\n"  # the status that was set says it


def generate(out: Path = ROOT) -> None:
    """Writes the generated files below ``out/examples/payments/v1``."""
    from grpc_tools import protoc

    (out / "examples/payments/v1").mkdir(parents=True, exist_ok=True)
    status = protoc.main(
        [
            "protoc",
            f"-Iexamples/payments/v1={ROOT}/examples/payments/proto",
            *(f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")),
            "examples/payments/v1/payments.proto",
        ]
    )
    if status:
        sys.exit(status)
    stubs = out / "examples/payments/v1/payments_pb2_grpc.py"
    stubs.write_text(stubs.read_text().replace(RAISE, ""))


if __name__ == "__main__":
    generate()
