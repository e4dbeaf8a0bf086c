"""Reads SQL as an engine would, as far as a parser of its dialect knows, and runs its views on DuckDB.

Usage: sql_dialects.py ENGINE FILE [TABLES]

Every statement of FILE must be one that the dialect has. With TABLES, SQL for DuckDB that makes the tables of the lake,
each view of FILE is translated to DuckDB's dialect and run over them. Prints as JSON: the kinds of statements, the
columns of each table created with their types as DuckDB calls them, and the rows of each view, sorted.
"""

import json
import re
import sys

import duckdb
import sqlglot
from sqlglot import exp

# Statements that the engines' documents have and the parser does not; what is odd in them is taken out first.
UNKNOWN = {
    "bigquery": [
        (r"\)\s*WITH PARTITION COLUMNS \((?:\w+ \w+(?:, )?)+\)", ")"),
        (r"LOAD DATA OVERWRITE TEMP TABLE", "LOAD DATA INTO TEMP TABLE"),
    ],
    "spark": [(r"MSCK REPAIR TABLE [\w.]+;", "")],
}

# Whose dialect an engine's queries are, where it has another one for its tables.
QUERIES = {"athena": "trino"}


def main() -> None:
    engine, file, *tables = sys.argv[1:]
    with open(file, encoding="utf-8") as text:
        sql = text.read()
    taken_out = 0
    for pattern, instead in UNKNOWN.get(engine, []):
        sql, count = re.subn(pattern, instead, sql)
        taken_out += count
    statements = [one for one in sqlglot.parse(sql, read=engine) if one is not None]
    found = {"kinds": {}, "taken_out": taken_out, "tables": {}, "views": {}}
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    if tables:
        with open(tables[0], encoding="utf-8") as text:
            connection.execute(text.read())
    for one in statements:
        kind = type(one).__name__
        if isinstance(one, exp.Semicolon):
            continue
        if isinstance(one, exp.Command):
            raise SystemExit(f"{engine} has no such statement: {one.sql()[:200]}")
        if isinstance(one, exp.Create):
            kind = f"Create {one.kind}"
        found["kinds"][kind] = found["kinds"].get(kind, 0) + 1
        if isinstance(one, exp.Create) and one.kind == "TABLE":
            columns = columns_of(one, engine)
            found["tables"][one.find(exp.Table).name] = columns
        if isinstance(one, exp.Create) and one.kind == "VIEW" and tables:
            name = one.find(exp.Table).name
            # Athena's queries are Trino's, and its tables Hive's.
            query = one.expression.sql(dialect=engine)
            query = sqlglot.transpile(query, read=QUERIES.get(engine, engine), write="duckdb")[0]
            connection.execute(f"CREATE OR REPLACE TEMPORARY VIEW checked AS {query}")
            names = [row[0] for row in connection.execute("DESCRIBE checked").fetchall()]
            rows = connection.execute("FROM checked ORDER BY ALL").fetchall()
            found["views"][name] = [dict(zip(names, row)) for row in rows]
    json.dump(found, sys.stdout, default=str)


def columns_of(table: exp.Create, engine: str) -> dict:
    definitions = list(table.this.expressions)
    partitioned = table.find(exp.PartitionedByProperty)
    # In Hive's, those of the path stand beside the others.
    if partitioned and engine == "athena":
        definitions += list(partitioned.this.expressions)
    return {one.name: one.kind.sql(dialect="duckdb") for one in definitions if isinstance(one, exp.ColumnDef)}


main()
