//! One file for each thing the program promises.

// The main job, a second time, and again by force.
mod run;
// Records at the edges of days, however the source reads them.
mod edges;
// Same records, same bytes.
mod determinism;
// What a source does wrong, one fault at a time.
mod faults;
// Everything that a source can do wrong, alone and mixed.
mod fault_matrix;
// A source that manages less at once.
mod halving;
// Records that come with another day's window.
mod strays;
// A source that no longer has what is committed.
mod shrink;
// What a user does wrong.
mod bad_input;
// Disks that are full or may not be written to.
mod disks;
// What is on the disk when it is said to be.
mod durable;
// Proxies and certificates.
mod network;
// A lake on S3.
mod s3;
// Runs at once.
mod racers;
// What a run would do, told and shared out.
mod plan;
// What is there, and when somebody must be called.
mod status;
// How late records came.
mod freshness;
// What killed runs leave.
mod recover;
// What nobody needs any more.
mod vacuum;
// Whether a lake holds what was committed.
mod verify;
// Whether it holds what the source has.
mod against_source;
// Days that have not ended.
mod open;
// Very many partitions.
mod many;
// What came that the tables do not hold, and who is told.
mod drift;
// Fragments at hand.
mod ingest;
// What was fetched, kept as it was.
mod landing;
// Records, back out of the lake.
mod restore;
// Who is forgotten.
mod forget;
// The lake as DuckDB reads it.
mod duckdb;
// The files that readers may take.
mod files;
// Readers beside a run that replaces.
mod readers;
// A warehouse that follows the lake.
mod changes;
// What manifests say of their records in numbers.
mod stats;
// SQL that creates tables and views.
mod ddl;
// The pipeline files of this repository.
mod examples;
// What must not be seen anywhere.
mod secrets;
// What must not land.
mod privacy;
// Jobs of runs that are no more, and of others at the same time.
mod claims;
// Told to stop.
mod stop;
// Killed at any moment.
mod killed;
// Killed at each of its requests.
mod killed_at_requests;
// Big data.
mod size;
// How much memory it takes.
mod memory;
// What a terminal shows while it works.
mod terminal;
// A pipeline file to start from.
mod init;
// Whether a run will work from here.
mod doctor;
// Arguments that are refused.
mod usage;
// Data made to exhaust memory.
mod hostile;
// Everything that is neither a run nor an ingest.
mod commands;
