"""What the gateway costs: `make bench` measures it and writes `docs/performance.md`."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
