"""Memory and time of DFID as the number of augmentations grows. Prints JSON, a line a size.

    python benchmarks/dfid.py [--augmentations 50 200 1000]

One source picture, the bundled generator, efficientnet-lite0, each size in a process of its own: peak resident memory
(VmHWM of Linux) must stay flat, since pictures and features are seen a batch at a time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path


def measure(augmentations: int) -> dict[str, float]:
    """Seconds and peak megabytes of one source picture."""
    import latentedit as le
    from latentedit.metrics import FrechetStatistics
    from latentedit.metrics.domain_frechet import dfid_of_picture
    from latentedit.metrics.edited_pictures import features_of_pictures
    from latentedit.metrics.features import load_features
    from latentedit.pictures.folder import PictureFolder

    generator, network, target = le.load_generator("avatar"), load_features(), FrechetStatistics()
    target.update(features_of_pictures(network, PictureFolder(generator.default_targets, generator.resolution)))
    picture = PictureFolder(generator.default_test_contents, generator.resolution)[0]
    start = time.perf_counter()
    value = dfid_of_picture(generator, network, picture, target, augmentations=augmentations)["original"]
    taken = time.perf_counter() - start
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return {"augmentations": augmentations, "dfid": value, "seconds": taken, "peak_mb": peak / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--augmentations", nargs="+", type=int, default=[50, 200, 1000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    for size in options.augmentations:
        subprocess.run([sys.executable, __file__, "--one", str(size)], check=True)


if __name__ == "__main__":
    main()
