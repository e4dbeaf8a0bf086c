"""Runs SQL on Spark on this machine, then queries; prints what these give as JSON.

Usage: spark_reads.py FOLDER FILE < queries

FOLDER is for what Spark leaves. The queries come as a JSON object by name; each gives its rows as objects.
"""

import json
import os
import sys

from pyspark.sql import SparkSession


def main() -> None:
    folder, file = sys.argv[1:]
    os.chdir(folder)
    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.warehouse.dir", f"{folder}/warehouse")
        .config("spark.sql.shuffle.partitions", "2")
        # Another zone than the data's, which must not matter.
        .config("spark.sql.session.timeZone", "America/New_York")
        .getOrCreate()
    )
    with open(file, encoding="utf-8") as text:
        lines = [line for line in text if not line.startswith("--")]
    for statement in "".join(lines).split(";\n"):
        if statement.strip():
            spark.sql(statement)
    found = {}
    for name, sql in json.load(sys.stdin).items():
        found[name] = [json.loads(row) for row in spark.sql(sql).toJSON().collect()]
    json.dump(found, sys.stdout)


main()
