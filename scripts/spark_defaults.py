"""Makes a conf file the defaults of this environment's own spark-submit.

python scripts/spark_defaults.py conf/spark/local.conf

The file names the Delta package of Spark 4; the defaults name the one that is installed.
"""

import re
import sys
from importlib.metadata import version
from pathlib import Path

import pyspark


def delta_package() -> str:
    """Maven coordinates of the jars that belong to the installed delta-spark."""
    delta = version("delta-spark")
    scala = "2.12" if delta.startswith("3.") else "2.13"
    return f"io.delta:delta-spark_{scala}:{delta}"


if __name__ == "__main__":
    settings = Path(sys.argv[1]).read_text()
    folder = Path(pyspark.__file__).parent / "conf"
    folder.mkdir(exist_ok=True)
    defaults = re.sub(r"io\.delta:delta-spark_\S+", delta_package(), settings)
    (folder / "spark-defaults.conf").write_text(defaults)
