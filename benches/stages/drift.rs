//! What it costs to decode records that the schema does not hold wholly: a share of them has an unknown key.

use crate::data::Input;
use crate::decode::{decode, measure_all};
use crate::measure::Measured;

pub(crate) fn none(input: &Input) -> Measured {
    measure_all(&drifting(input, 0))
}

pub(crate) fn one_percent(input: &Input) -> Measured {
    measure_all(&drifting(input, 1))
}

pub(crate) fn a_fifth(input: &Input) -> Measured {
    measure_all(&drifting(input, 20))
}

pub(crate) fn all(input: &Input) -> Measured {
    measure_all(&drifting(input, 100))
}

/// The records of the input that do not drift (the seeded source is not all as documented), as one fragment, with an
/// unknown key in `percent` of them.
fn drifting(input: &Input, percent: usize) -> Vec<Vec<u8>> {
    let mut fragment = Vec::new();
    let mut count = 0;
    for block in decode(&input.read()) {
        let records = block.partitions.iter().flat_map(|rows| &rows.records);
        for record in records.filter(|record| record.drift.is_none()) {
            fragment.push(if count == 0 { b'[' } else { b',' });
            let text = &block.bytes[record.range.clone()];
            let inside = text.strip_prefix(b"{").unwrap();
            fragment.push(b'{');
            if (count + 1) * percent / 100 > count * percent / 100 {
                fragment.extend_from_slice(br#""newKey":{"since":2026},"#);
            }
            fragment.extend_from_slice(inside);
            count += 1;
        }
    }
    fragment.push(b']');
    vec![fragment]
}
