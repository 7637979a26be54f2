"""Reads each dashboard into Grafana's own models and writes it back: what Grafana does not know is lost on the way.

Fails with the path of every field that is lost or changed. Usage: parse_dashboards.py FILE...
"""

import json
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

# Grafana's model leaves an annotation open for what its data source wants; these are Prometheus'.
OPEN = {"step", "titleFormat", "textFormat", "tagKeys", "useValueForTime"}


def differences(written, read, path):
    """Paths below which `read` does not hold what was written. What the models add by themselves does not count."""
    if isinstance(written, dict) and isinstance(read, dict):
        for key, value in written.items():
            if key in read:
                yield from differences(value, read[key], f"{path}.{key}")
            # The models leave out what is nothing.
            elif value is not None and not (path.startswith("dashboard.annotations.list[") and key in OPEN):
                yield f"{path}.{key}"
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        for index, (a, b) in enumerate(zip(written, read)):
            yield from differences(a, b, f"{path}[{index}]")
    elif written != read:
        yield f"{path}: {written!r} is read as {read!r}"


def main(files):
    register_default_plugins()
    failed = 0
    for file in files:
        with open(file, encoding="utf-8") as source:
            written = json.load(source)
        board = Dashboard.from_json(written)
        read = json.loads(json.dumps(board, cls=JSONEncoder))
        lost = list(differences(written, read, "dashboard"))
        for path in lost:
            print(f"{file}: Grafana does not know {path}", file=sys.stderr)
        failed += len(lost)
        panels = sum(panel["type"] != "row" for panel in written["panels"])
        print(f"{file}: {board.title}, {panels} panels")
    return 1 if failed or not files else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
