"""Reads a lake with DuckDB as any reader would, and prints what it finds as JSON.

Usage: duckdb_reads.py LAKE
"""

import json
import sys

import duckdb

TABLES = ["queries", "feedback", "answers", "chunks", "llm_calls", "events"]


def main() -> None:
    lake = sys.argv[1]
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for table in TABLES:
        # One glob for either grain, and nothing else told.
        files = f"{lake}/{table}/app_id=*/dt=*/**/*.parquet"
        connection.execute(
            f"CREATE VIEW {table} AS FROM read_parquet('{files}', hive_partitioning = true)"
        )

    def rows(sql: str) -> list:
        return connection.execute(sql).fetchall()

    def found(table: str) -> dict:
        types = {row[0]: row[1] for row in rows(f"DESCRIBE {table}")}
        by = "dt::VARCHAR" + (" || '/' || hour" if "hour" in types else "")
        [(first, last, us_first, us_last)] = rows(
            "SELECT min(created_at), max(created_at), epoch_us(min(created_at)), epoch_us(max(created_at))"
            f" FROM {table}"
        )
        return {
            "types": types,
            "counts": dict(rows(f"SELECT {by}, count(*) FROM {table} GROUP BY ALL")),
            "apps": [row[0] for row in rows(f"SELECT DISTINCT app_id FROM {table}")],
            # As Python gets them: aware, and in UTC.
            "first": first.isoformat(),
            "last": last.isoformat(),
            "first_us": us_first,
            "last_us": us_last,
            "outside_dt": rows(f"SELECT count(*) FROM {table} WHERE created_at::DATE <> dt")[0][0],
        }

    def orphans(table: str) -> int:
        return rows(f"SELECT count(*) FROM {table} ANTI JOIN queries USING (query_id)")[0][0]

    result = {
        "tables": {table: found(table) for table in TABLES},
        "orphans": {table: orphans(table) for table in TABLES if table != "queries"},
        "rated": rows("SELECT count(*) FROM feedback JOIN queries USING (query_id)")[0][0],
        "chunks_of_answers": rows(
            "SELECT count(*) FROM chunks JOIN answers USING (query_id, answer_id)"
            " WHERE chunks.answer_position = answers.position"
        )[0][0],
        "prompts": dict(rows("SELECT answer_id, array_to_string(prompt_parts, '') FROM llm_calls")),
        "completions": {
            row[0]: row[1:]
            for row in rows("SELECT answer_id, completion_text, cited_positions FROM llm_calls")
        },
        "chunks": {
            f"{row[0]}/{row[1]}/{row[2]}": row[3:]
            for row in rows("SELECT answer_id, kind, position, text, score, cited FROM chunks")
        },
        "tags": dict(rows("SELECT feedback_id, tags FROM feedback")),
        "clicks": rows("SELECT count(*) FROM events WHERE record->>'event' = event")[0][0],
    }
    json.dump(result, sys.stdout)


main()
