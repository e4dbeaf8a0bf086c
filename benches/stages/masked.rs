//! What it costs to decode records that a `[privacy]` section masks.

use std::collections::BTreeMap;
use std::sync::Arc;

use answerlake_transform::{AppAssignment, DecodeConfig, Masking, Policies, Policy};

use crate::data::Input;
use crate::decode::measure_all_as;
use crate::measure::Measured;

/// Who asked is hashed.
pub(crate) fn people(input: &Input) -> Measured {
    measure_all_as(
        &input.read(),
        &masked(&[("userId", Policy::Hash), ("sessionId", Policy::Hash)]),
    )
}

/// What was asked is left out, and all that repeats it.
pub(crate) fn questions(input: &Input) -> Measured {
    let fields = ["query", "prompt", "completionText", "graphAnswer"];
    measure_all_as(
        &input.read(),
        &masked(&fields.map(|field| (field, Policy::Drop))),
    )
}

fn masked(policies: &[(&str, Policy)]) -> DecodeConfig {
    let named: BTreeMap<_, _> = policies
        .iter()
        .map(|(field, policy)| ((*field).to_owned(), *policy))
        .collect();
    let policies = Policies::try_new(&named, false).unwrap().unwrap();
    let masking = Masking::try_new(policies, Some(&[7; Masking::MIN_KEY_BYTES])).unwrap();
    DecodeConfig {
        masking: Some(Arc::new(masking)),
        ..DecodeConfig::new(AppAssignment::FromRecords)
    }
}
