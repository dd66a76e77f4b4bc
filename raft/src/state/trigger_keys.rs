//! Keys of the triggers' rows as bytes, in the order of the keys.

use std::sync::Arc;

use super::table::RowKey;
use crate::model::{Name, SeriesId, Subject};

/// Text that may hold zeros, ended so that order is kept.
fn write_text(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

fn read_text<'a>(bytes: &'a [u8], text: &mut Vec<u8>) -> Option<&'a [u8]> {
    let mut rest = bytes;
    loop {
        let zero = rest.iter().position(|byte| *byte == 0)?;
        text.extend_from_slice(&rest[..zero]);
        let after = *rest.get(zero + 1)?;
        rest = &rest[zero + 2..];
        match after {
            0 => return Some(rest),
            0xff => text.push(0),
            _ => return None,
        }
    }
}

fn write_maybe(text: Option<&str>, out: &mut Vec<u8>) {
    out.push(u8::from(text.is_some()));
    if let Some(text) = text {
        write_text(text, out);
    }
}

fn read_maybe(bytes: &[u8]) -> Option<(Option<String>, &[u8])> {
    match bytes.split_first()? {
        (0, rest) => Some((None, rest)),
        (1, rest) => {
            let mut text = Vec::new();
            let rest = read_text(rest, &mut text)?;
            Some((Some(String::from_utf8(text).ok()?), rest))
        }
        _ => None,
    }
}

impl RowKey for (Name, Subject) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        out.push(0);
        match &self.1 {
            Subject::Series { condition, series } => {
                out.extend_from_slice(&[0, *condition]);
                out.extend_from_slice(&series.0.to_be_bytes());
            }
            Subject::Place { node, jvm, instance } => {
                out.push(1);
                write_text(node.as_str(), out);
                write_maybe(jvm.as_deref(), out);
                write_maybe(instance.as_deref(), out);
            }
            Subject::Cluster { condition } => {
                out.push(2);
                out.extend(condition.map(|condition| condition.saturating_add(1)).or(Some(0)));
            }
            Subject::Silence { condition, node } => {
                out.extend_from_slice(&[3, *condition]);
                write_maybe(node.as_ref().map(Name::as_str), out);
            }
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let zero = bytes.iter().position(|byte| *byte == 0)?;
        let trigger = Name::read(&bytes[..zero])?;
        let (tag, rest) = bytes[zero + 1..].split_first()?;
        let subject = match tag {
            0 => {
                let (condition, series) = rest.split_first()?;
                let series = SeriesId(u32::from_be_bytes(series.try_into().ok()?));
                Subject::Series { condition: *condition, series }
            }
            1 => {
                let mut node = Vec::new();
                let rest = read_text(rest, &mut node)?;
                let (jvm, rest) = read_maybe(rest)?;
                let (instance, rest) = read_maybe(rest)?;
                let node = Name::read(&node)?;
                rest.is_empty().then_some(())?;
                Subject::Place { node, jvm: jvm.map(Arc::from), instance: instance.map(Arc::from) }
            }
            2 => match rest {
                [condition] => Subject::Cluster { condition: condition.checked_sub(1) },
                _ => return None,
            },
            3 => {
                let (condition, rest) = rest.split_first()?;
                let (node, rest) = read_maybe(rest)?;
                rest.is_empty().then_some(())?;
                let node = node.map(|node| Name::new(&node)).transpose().ok()?;
                Subject::Silence { condition: *condition, node }
            }
            _ => return None,
        };
        Some((trigger, subject))
    }
}

impl RowKey for (Name, Option<Name>) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        out.push(0);
        if let Some(node) = &self.1 {
            node.write(out);
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let zero = bytes.iter().position(|byte| *byte == 0)?;
        let (name, node) = (&bytes[..zero], &bytes[zero + 1..]);
        let node = if node.is_empty() { None } else { Some(Name::read(node)?) };
        Some((Name::read(name)?, node))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::codec;
    use crate::model::{Bell, Held, Phase, RunId, Timestamp, Tracked, Watched};

    fn text() -> impl Strategy<Value = String> {
        prop::collection::vec(prop_oneof![Just('\0'), Just('\u{1}'), Just('a'), Just('é'), Just('/')], 0..4)
            .prop_map(String::from_iter)
    }

    fn name() -> impl Strategy<Value = Name> {
        "[ab0][ab.]{0,2}".prop_map(|text| Name::new(&text).unwrap())
    }

    fn subject() -> impl Strategy<Value = Subject> {
        let maybe = || prop::option::of(text().prop_map(Arc::from));
        prop_oneof![
            (0u8..16, any::<u32>())
                .prop_map(|(condition, id)| Subject::Series { condition, series: SeriesId(id) }),
            (name(), maybe(), maybe()).prop_map(|(node, jvm, instance)| Subject::Place {
                node,
                jvm,
                instance
            }),
            prop::option::of(0u8..16).prop_map(|condition| Subject::Cluster { condition }),
            (0u8..16, prop::option::of(name()))
                .prop_map(|(condition, node)| Subject::Silence { condition, node }),
        ]
    }

    fn bytes<K: RowKey>(key: &K) -> Vec<u8> {
        let mut out = Vec::new();
        key.write(&mut out);
        out
    }

    proptest! {
        #[test]
        fn subjects_keep_their_order_and_are_read_back(
            left in (name(), subject()), right in (name(), subject()),
        ) {
            prop_assert_eq!(left.cmp(&right), bytes(&left).cmp(&bytes(&right)));
            prop_assert_eq!(<(Name, Subject)>::read(&bytes(&left)), Some(left));
        }

        #[test]
        fn bells_keep_their_order_and_are_read_back(
            left in (name(), prop::option::of(name())), right in (name(), prop::option::of(name())),
        ) {
            prop_assert_eq!(left.cmp(&right), bytes(&left).cmp(&bytes(&right)));
            prop_assert_eq!(<(Name, Option<Name>)>::read(&bytes(&left)), Some(left));
        }

        #[test]
        fn garbage_is_no_key(bytes: Vec<u8>) {
            let _ = <(Name, Subject)>::read(&bytes);
            let _ = <(Name, Option<Name>)>::read(&bytes);
        }
    }

    #[test]
    fn the_stored_bytes_are_these() {
        let web = || Name::new("web").unwrap();
        let keys = [
            (Subject::Series { condition: 1, series: SeriesId(258) }, &b"web\0\0\x01\0\0\x01\x02"[..]),
            (
                Subject::Place { node: web(), jvm: None, instance: Some("/".into()) },
                &b"web\0\x01web\0\0\0\x01/\0\0"[..],
            ),
            (Subject::Cluster { condition: Some(0) }, &b"web\0\x02\x01"[..]),
            (Subject::Silence { condition: 2, node: Some(web()) }, &b"web\0\x03\x02\x01web\0\0"[..]),
        ];
        for (subject, expected) in keys {
            assert_eq!(bytes(&(web(), subject)), expected);
        }
        let (one, two) = (Timestamp(1), Timestamp(2));
        let watched = Watched { from: one, clock: two, open: true, not_before: Timestamp(3) };
        assert_eq!(codec::encode_plain(&watched), [2, 4, 1, 6]);
        let tracked = |phase| codec::encode_plain(&Tracked { phase, seen: Some(two) });
        assert_eq!(tracked(Phase::Pending { since: one }), [1, 2, 1, 4]);
        assert_eq!(tracked(Phase::Firing { held_since: one, since: two }), [2, 2, 4, 1, 4]);
        let recovering = Phase::Recovering { held_since: one, since: two, from: two };
        assert_eq!(tracked(recovering), [3, 2, 4, 4, 1, 4]);
        let bell = Bell {
            rung: true,
            held: Some(Held::Maintenance(web())),
            fired: Some(one),
            run: Some(RunId(7)),
            refused: None,
        };
        assert_eq!(codec::encode_plain(&bell), [1, 1, 0, 3, b'w', b'e', b'b', 1, 2, 1, 7, 0]);
        let cooling = Bell { held: Some(Held::Cooldown), ..Bell::default() };
        assert_eq!(codec::encode_plain(&cooling), [0, 1, 1, 0, 0, 0]);
    }
}
