//! What must hold of any record: what is flattened is restored, and nothing is lost in silence.
//!
//! Cases are made of bytes, each of which decides something, so that they are quick to make and shrink by themselves.
//! How many there are follows `PROPTEST_CASES`, and which they are `PROPTEST_RNG_SEED`.

#![expect(
    clippy::unwrap_used,
    reason = "where a test cannot go on it fails, and the place says why"
)]

// Any record that loads is restored.
#[path = "properties/restore.rs"]
mod restore;
// No bytes lose a record in silence.
#[path = "properties/decoder.rs"]
mod decoder;
// Records to rows and back.
#[path = "properties/round_trip.rs"]
mod round_trip;
// Records shaped as documented, and what drifts away from that.
#[path = "properties/documented.rs"]
mod documented;
// JSON of any kind.
#[path = "properties/any_json.rs"]
mod any_json;
// JSON by value.
#[path = "properties/json.rs"]
mod json;
// Bytes as decisions.
#[path = "properties/choices.rs"]
mod choices;
