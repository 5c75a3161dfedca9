"""How long does a fresh process take? Prints JSON: medians of five runs after one warm-up, in seconds.

python benchmarks/startup.py
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time

COMMANDS = {"edit --tag long_hair": ["edit", "--tag", "long_hair", "--force", "--quiet"], "--help": ["--help"]}


def main() -> None:
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in COMMANDS.items():
            command = [sys.executable, "-m", "latentedit.cli", *arguments]
            seconds = []
            for _ in range(6):
                started = time.perf_counter()
                subprocess.run(command, cwd=folder, check=True, capture_output=True)
                seconds.append(time.perf_counter() - started)
            results[f"latentedit {name}"] = round(statistics.median(seconds[1:]), 3)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
