"""Makes a properties file the defaults of this environment's own spark-submit.

python scripts/spark_defaults.py conf/spark/local.conf

The file names the Delta package for Spark 4.0; the defaults get the one for the installed version.
"""

import re
import sys
from pathlib import Path

import pyspark
from delta import configure_spark_with_delta_pip
from pyspark.sql import SparkSession


def delta_package() -> str:
    """The Maven coordinates of the jars for the installed delta-spark and pyspark."""
    # Delta has changed their naming twice, and only its session builder knows the current one.
    return configure_spark_with_delta_pip(SparkSession.builder)._options["spark.jars.packages"]


if __name__ == "__main__":
    settings = Path(sys.argv[1]).read_text()
    folder = Path(pyspark.__file__).parent / "conf"
    folder.mkdir(exist_ok=True)
    defaults = re.sub(r"io\.delta:delta-spark_\S+", delta_package(), settings)
    (folder / "spark-defaults.conf").write_text(defaults)
