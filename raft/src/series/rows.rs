//! Samples on their way through the log, packed: they are most of what is written, sent and read there.
//!
//! `count | row ...`, all numbers LEB128. A row is `head | time | value`. The head has, from its lowest bit, the form of the
//! value (2 bits), whether the series may be new (1 bit), and how far its number is from the row's before. The time is how
//! much later it is than the row's before. Signed ones are zigzag. The value is its 8 bytes, or a whole number of ones,
//! hundredths or thousandths where that gives just these bits: hosts mostly measure such.

use serde::de::Visitor;
use serde::{Deserializer, Serializer};

use super::SeriesId;
use super::codec::{Bad, Reader, put_signed, put_varint, unzigzag, zigzag};

/// A sample.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SampleRow {
    /// The series.
    pub series: RowSeries,
    /// When it was due, ms since the Unix epoch.
    pub at: i64,
    /// What was measured.
    pub value: f64,
}

/// How a row names its series.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowSeries {
    /// A series the proposer knows.
    Known(SeriesId),
    /// Position in [`crate::command::SampleBatch::keys`].
    New(u32),
}

/// What a value is a whole number of, by its form. Form 0 is the value's own bits.
const PARTS: [f64; 4] = [0.0, 1.0, 100.0, 1000.0];
/// Whole numbers above are not all exact.
const WHOLE_MAX: f64 = (1u64 << 53) as f64;
/// The least that a row takes.
const ROW_BYTES_MIN: usize = 3;

/// The form of a value, and its whole number.
fn form_of(value: f64) -> (usize, i64) {
    for (form, parts) in PARTS.iter().enumerate().skip(1) {
        let scaled = value * parts;
        if scaled.abs() <= WHOLE_MAX {
            let whole = scaled.round() as i64;
            // Below zero there is a zero that is none of these.
            if (whole as f64 / parts).to_bits() == value.to_bits() {
                return (form, whole);
            }
        }
    }
    (0, 0)
}

fn pack(rows: &[SampleRow]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + rows.len() * 6);
    put_varint(&mut out, rows.len() as u64);
    let (mut series_before, mut at_before) = (0, 0);
    for row in rows {
        let (number, is_new) = match row.series {
            RowSeries::Known(id) => (id.0, 0),
            RowSeries::New(position) => (position, 1),
        };
        let (form, whole) = form_of(row.value);
        let step = zigzag(i64::from(number) - series_before);
        put_varint(&mut out, step << 3 | is_new << 2 | form as u64);
        put_signed(&mut out, row.at.wrapping_sub(at_before));
        match form {
            0 => out.extend_from_slice(&row.value.to_bits().to_le_bytes()),
            _ => put_signed(&mut out, whole),
        }
        (series_before, at_before) = (i64::from(number), row.at);
    }
    out
}

fn unpack(bytes: &[u8]) -> Result<Vec<SampleRow>, Bad> {
    let mut from = Reader::new(bytes);
    let count = from.at_most(bytes.len() / ROW_BYTES_MIN)?;
    let mut rows = Vec::with_capacity(count);
    let (mut series_before, mut at) = (0i64, 0i64);
    for _ in 0..count {
        let head = from.varint()?;
        let number = u32::try_from(series_before.wrapping_add(unzigzag(head >> 3)))
            .map_err(|_| Bad("a series is out of range"))?;
        let series = match head & 4 {
            0 => RowSeries::Known(SeriesId(number)),
            _ => RowSeries::New(number),
        };
        at = at.wrapping_add(from.signed()?);
        let value = match (head & 3) as usize {
            0 => f64::from_bits(from.u64()?),
            form => from.signed()? as f64 / PARTS[form],
        };
        rows.push(SampleRow { series, at, value });
        series_before = i64::from(number);
    }
    from.finish()?;
    Ok(rows)
}

/// Writes rows packed. For `#[serde(with)]`.
///
/// # Errors
/// The serializer's.
pub(crate) fn serialize<S: Serializer>(rows: &[SampleRow], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(&pack(rows))
}

/// Reads what [`serialize`] wrote.
///
/// # Errors
/// The deserializer's; where the bytes are no rows, it says why.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SampleRow>, D::Error> {
    struct Packed;
    impl Visitor<'_> for Packed {
        type Value = Vec<SampleRow>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("packed samples")
        }
        fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Vec<SampleRow>, E> {
            unpack(bytes).map_err(|Bad(why)| E::custom(format!("packed samples: {why}")))
        }
    }
    deserializer.deserialize_bytes(Packed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn bits(rows: &[SampleRow]) -> Vec<(RowSeries, i64, u64)> {
        rows.iter().map(|row| (row.series, row.at, row.value.to_bits())).collect()
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            any::<i64>().prop_map(|whole| whole as f64),
            any::<i32>().prop_map(|hundredths| f64::from(hundredths) / 100.0),
            any::<i32>().prop_map(|thousandths| f64::from(thousandths) / 1000.0),
            Just(-0.0),
        ]
    }

    fn row() -> impl Strategy<Value = SampleRow> {
        let series = prop_oneof![
            any::<u32>().prop_map(|id| RowSeries::Known(SeriesId(id))),
            any::<u32>().prop_map(RowSeries::New),
        ];
        (series, any::<i64>(), value()).prop_map(|(series, at, value)| SampleRow { series, at, value })
    }

    #[test]
    fn the_form_is_what_it_was() {
        let known = |id, at, value| SampleRow { series: RowSeries::Known(SeriesId(id)), at, value };
        let rows = [known(7, 1000, 12.34), known(8, 1000, 3.0), known(8, 990, 0.1 + 0.2)];
        let packed = [3, 114, 208, 15, 164, 19, 17, 0, 6, 0, 19, 52, 51, 51, 51, 51, 51, 211, 63].as_slice();
        assert_eq!(pack(&rows), packed);
        assert_eq!(bits(&unpack(packed).unwrap()), bits(&rows));
    }

    #[test]
    fn what_hosts_measure_takes_a_few_bytes() {
        let rows: Vec<SampleRow> = (0..20)
            .map(|n| SampleRow {
                series: RowSeries::Known(SeriesId(500 + n)),
                at: 1_790_000_000_000,
                value: f64::from(n * 501) / 100.0,
            })
            .collect();
        assert!(pack(&rows).len() < 20 * 5 + 10, "{}", pack(&rows).len());
    }

    proptest! {
        #[test]
        fn rows_come_back_to_the_bit(rows in prop::collection::vec(row(), 0..40)) {
            prop_assert_eq!(bits(&unpack(&pack(&rows)).unwrap()), bits(&rows));
        }

        #[test]
        fn damage_is_an_error_or_other_rows_and_never_more(
            rows in prop::collection::vec(row(), 0..20),
            bytes: Vec<u8>,
            at: prop::sample::Index,
        ) {
            let mut packed = pack(&rows);
            let at = at.index(packed.len());
            packed.truncate(at);
            packed.extend(&bytes);
            if let Ok(read) = unpack(&packed) {
                prop_assert!(read.len() <= packed.len() / ROW_BYTES_MIN);
            }
        }
    }
}
