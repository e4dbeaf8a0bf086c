//! How many bytes each row of a batch holds, logically.
//!
//! Counted from the values, not from the buffers that hold them: a slice, a text that is shared through a dictionary
//! and a buffer with room to spare all count what their rows say. So row groups end at the same rows wherever and
//! however a batch was made.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Int32Type};

/// What a text or a list counts beside its values, in bytes.
const LENGTH_BYTES: u64 = 4;

/// The logical size of each row, in bytes.
pub(crate) fn row_sizes(batch: &RecordBatch) -> Vec<u64> {
    let mut sizes = vec![0; batch.num_rows()];
    for column in batch.columns() {
        add_sizes(column, &mut sizes);
    }
    sizes
}

fn add_sizes(array: &dyn Array, sizes: &mut [u64]) {
    match array.data_type() {
        DataType::Utf8 => add_lengths(array.as_string::<i32>().offsets(), sizes),
        DataType::Utf8View => {
            // A view's low 32 bits are its length.
            for (size, view) in sizes.iter_mut().zip(array.as_string_view().views().iter()) {
                *size += LENGTH_BYTES + u64::from(*view as u32);
            }
        }
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_dictionary::<Int32Type>();
            let values = dictionary.values().as_string::<i32>();
            for (size, key) in sizes.iter_mut().zip(dictionary.keys()) {
                let length = key.map_or(0, |key| values.value_length(key as usize));
                *size += LENGTH_BYTES + length as u64;
            }
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let offsets = list.offsets();
            let (first, last) = (offsets[0] as usize, offsets[list.len()] as usize);
            let elements = list.values().slice(first, last - first);
            let mut element_sizes = vec![0; elements.len()];
            add_sizes(&elements, &mut element_sizes);
            for (size, bounds) in sizes.iter_mut().zip(offsets.windows(2)) {
                let own = bounds[0] as usize - first..bounds[1] as usize - first;
                *size += LENGTH_BYTES + element_sizes[own].iter().sum::<u64>();
            }
        }
        other => {
            let width = other.primitive_width().unwrap_or(1) as u64;
            for size in sizes {
                *size += width;
            }
        }
    }
}

fn add_lengths(offsets: &OffsetBuffer<i32>, sizes: &mut [u64]) {
    for (size, bounds) in sizes.iter_mut().zip(offsets.windows(2)) {
        *size += LENGTH_BYTES + (bounds[1] - bounds[0]) as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, DictionaryArray, Int64Array, ListBuilder, StringArray, StringBuilder,
        StringViewArray,
    };

    use super::*;

    fn sizes(column: ArrayRef) -> Vec<u64> {
        row_sizes(&RecordBatch::try_from_iter_with_nullable([("c", column, true)]).unwrap())
    }

    #[test]
    fn text_counts_the_same_however_it_is_held() {
        let texts = [
            Some("abc"),
            None,
            Some("a text beyond the view's inline bytes"),
            Some(""),
        ];
        let expected = vec![7, 4, 41, 4];
        assert_eq!(sizes(Arc::new(StringArray::from(texts.to_vec()))), expected);
        assert_eq!(
            sizes(Arc::new(StringViewArray::from(texts.to_vec()))),
            expected
        );
        let dictionary: DictionaryArray<Int32Type> = texts.into_iter().collect();
        assert_eq!(sizes(Arc::new(dictionary)), expected);
    }

    #[test]
    fn a_slice_counts_its_own_rows() {
        let mut lists = ListBuilder::new(StringBuilder::new());
        for row in [vec!["a"], vec![], vec!["bb", "ccc"], vec!["d"]] {
            row.iter()
                .for_each(|text| lists.values().append_value(text));
            lists.append(true);
        }
        let array: ArrayRef = Arc::new(lists.finish());
        assert_eq!(sizes(Arc::clone(&array)), [9, 4, 17, 9]);
        assert_eq!(sizes(array.slice(2, 2)), [17, 9]);
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        assert_eq!(sizes(numbers.slice(1, 2)), [8, 8]);
    }
}
