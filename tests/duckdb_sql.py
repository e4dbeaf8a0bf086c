"""Runs SQL files on a DuckDB database, one after the other, then queries; prints what these give as JSON.

Usage: duckdb_sql.py DATABASE FILE... < queries

The queries come as a JSON object by name. Each gives its rows; one that fails gives its error as text. A file that
fails ends it all, with what went before it committed as the file says, and the error under `failed`.
"""

import json
import sys

import duckdb


def main() -> None:
    database, *files = sys.argv[1:]
    connection = duckdb.connect(database)
    connection.execute("SET TimeZone = 'UTC'")
    found = {}
    for file in files:
        with open(file, encoding="utf-8") as text:
            try:
                connection.execute(text.read())
            except duckdb.Error as error:
                found["failed"] = str(error)
                break
    for name, sql in json.load(sys.stdin).items():
        try:
            found[name] = connection.execute(sql).fetchall()
        except duckdb.Error as error:
            found[name] = str(error)
    json.dump(found, sys.stdout, default=str)


main()
