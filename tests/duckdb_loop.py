"""Reads a lake with DuckDB again and again, over the glob and over the list of files, until its stdin ends.

Usage: duckdb_loop.py PROGRAM LAKE COUNTS

COUNTS is a JSON object: of each day, the row counts of `queries` and `chunks` that a reader may meet, as a list of pairs.
Prints as JSON, for both ways: queries that were right, wrong, and that failed; and how long a reader could have met
what is wrong, from the last right query before to the first one after, as a list of seconds.
"""

import json
import subprocess
import sys
import threading
import time

import duckdb

GLOB = "read_parquet('{lake}/{table}/app_id=*/dt=*/**/*.parquet', hive_partitioning = true)"
QUERY = (
    "SELECT dt::VARCHAR, (SELECT count(*) FROM {queries} AS q WHERE q.dt = d.dt),"
    " (SELECT count(*) FROM {chunks} AS c WHERE c.dt = d.dt) FROM (VALUES {days}) AS d(dt)"
)


class Way:
    def __init__(self, allowed: dict) -> None:
        self.allowed = allowed
        self.right = self.wrong = self.failed = 0
        self.spans = []
        self.last_right = None
        self.is_wrong = False
        self.errors = []
        self.examples = []

    def note(self, began: float, found: list) -> None:
        # The two tables are read one after the other, so that each is right by itself is all that is asked.
        is_right = len(found) == len(self.allowed) and all(
            queries in [pair[0] for pair in self.allowed[day]]
            and chunks in [pair[1] for pair in self.allowed[day]]
            for day, queries, chunks in found
        )
        if is_right:
            self.right += 1
            if self.is_wrong:
                self.spans.append(round(began - self.last_right, 4))
            self.last_right = time.monotonic()
            self.is_wrong = False
        else:
            self.wrong += 1
            self.is_wrong = True
            self.examples = (self.examples + [found])[:3]

    def fail(self, error: Exception) -> None:
        self.failed += 1
        self.errors = (self.errors + [str(error)])[:3]

    def said(self) -> dict:
        names = ["right", "wrong", "failed", "spans", "errors", "examples"]
        return {name: getattr(self, name) for name in names}


def main() -> None:
    program, lake, counts = sys.argv[1:]
    allowed = json.loads(counts)
    days = ", ".join(f"(DATE '{day}')" for day in allowed)
    over_glob = QUERY.format(
        queries=GLOB.format(lake=lake, table="queries"),
        chunks=GLOB.format(lake=lake, table="chunks"),
        days=days,
    )
    over_files = QUERY.format(queries="queries", chunks="chunks", days=days)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    glob, files = Way(allowed), Way(allowed)
    connection = duckdb.connect()
    # Listing takes a process, so there are some queries to each list, as readers have them.
    left = 0
    while not ended.is_set():
        try:
            began = time.monotonic()
            glob.note(began, connection.execute(over_glob).fetchall())
        except duckdb.Error as error:
            glob.fail(error)
        try:
            if left == 0:
                command = [program, "files", "--lake", lake, "--format", "sql"]
                listed = subprocess.run(command, check=True, capture_output=True, text=True)
                connection.execute(listed.stdout)
                left = 4
            left -= 1
            files.note(time.monotonic(), connection.execute(over_files).fetchall())
        except duckdb.Error as error:
            # A file that went: the list is made anew.
            files.fail(error)
            left = 0
    json.dump({"glob": glob.said(), "files": files.said()}, sys.stdout)


main()
