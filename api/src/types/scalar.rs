//! Durations, timestamps, and values that may live elsewhere.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rscaler_raft::model::{self, Name, Timestamp};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

/// A length of time, written with its units: `"90s"`, `"5m"`, `"1h30m"`, `"250ms"`, `"90d"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Span(pub Duration);

/// Text that is not a [`Span`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is not a duration: write it with units, such as \"90s\", \"5m\", \"1h30m\" or \"7d\"")]
pub struct InvalidSpan(String);

/// Units with their length in ms, longest first.
const UNITS: [(&str, u64); 6] =
    [("w", 7 * 86_400_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl Span {
    /// A span of whole seconds.
    pub const fn secs(seconds: u64) -> Span {
        Span(Duration::from_secs(seconds))
    }
}

impl FromStr for Span {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Span, InvalidSpan> {
        let invalid = || InvalidSpan(text.chars().take(40).collect());
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(invalid());
        }
        if rest == "0" {
            return Ok(Span::default());
        }
        let mut total_ms = 0u64;
        let mut before = u64::MAX;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, tail) = tail.split_at(letters);
            let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(invalid)?;
            // Units in falling order, each once: `1h30m`, not `30m1h`.
            if *unit_ms >= before {
                return Err(invalid());
            }
            before = *unit_ms;
            let number: u64 = number.parse().map_err(|_| invalid())?;
            let part = number.checked_mul(*unit_ms).ok_or_else(invalid)?;
            total_ms = total_ms.checked_add(part).ok_or_else(invalid)?;
            rest = tail;
        }
        Ok(Span(Duration::from_millis(total_ms)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left_ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if left_ms == 0 {
            return f.write_str("0s");
        }
        // What people write as `90s` is not shown as `1m30s`.
        if left_ms < 120_000 && left_ms != 60_000 && left_ms.is_multiple_of(1000) {
            return write!(f, "{}s", left_ms / 1000);
        }
        for (unit, unit_ms) in UNITS.iter().skip(1) {
            if left_ms >= *unit_ms {
                write!(f, "{}{unit}", left_ms / unit_ms)?;
                left_ms %= unit_ms;
            }
        }
        Ok(())
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Span {
        Span(duration)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Duration {
        span.0
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        struct SpanVisitor;
        impl Visitor<'_> for SpanVisitor {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit, such as \"90s\", \"5m\" or \"1h30m\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(SpanVisitor)
    }
}

fn text_schema(description: &str, format: Option<&str>, example: &str) -> RefOr<Schema> {
    let mut object = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .examples([serde_json::Value::from(example)]);
    if let Some(format) = format {
        object = object.format(Some(SchemaFormat::Custom(format.to_string())));
    }
    object.into()
}

impl PartialSchema for Span {
    fn schema() -> RefOr<Schema> {
        text_schema("A length of time with its units: w, d, h, m, s, ms.", None, "1h30m")
    }
}

impl ToSchema for Span {}

/// A moment, written as RFC 3339: `"2026-02-03T04:05:06Z"`. Read with any offset, shown in UTC, to the millisecond.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Time(pub Timestamp);

impl Time {
    /// The moment for jiff, which formats it; the nearest one where it is out of its bounds.
    pub fn to_jiff(self) -> jiff::Timestamp {
        let nearest = if self.0.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        jiff::Timestamp::from_millisecond(self.0.0).unwrap_or(nearest)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_jiff(), f)
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Time, String> {
        let moment: jiff::Timestamp = text.trim().parse().map_err(|_| {
            let shown: String = text.chars().take(40).collect();
            format!("`{shown}` is not a time: write it as RFC 3339, such as \"2026-02-03T04:05:06Z\"")
        })?;
        Ok(Time(Timestamp(moment.as_millisecond())))
    }
}

impl From<Timestamp> for Time {
    fn from(at: Timestamp) -> Time {
        Time(at)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        struct TimeVisitor;
        impl Visitor<'_> for TimeVisitor {
            type Value = Time;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time as RFC 3339, such as \"2026-02-03T04:05:06Z\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(TimeVisitor)
    }
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        text_schema("A moment as RFC 3339.", Some("date-time"), "2026-02-03T04:05:06Z")
    }
}

impl ToSchema for Time {}

/// Text that stands in the document or lives elsewhere: `"..."`, `{secret: NAME}` or `{file: NAME}`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Text {
    /// The text itself.
    Inline(String),
    /// The value of a secret.
    Secret(Name),
    /// The newest content of a file.
    File(Name),
}

impl From<Text> for model::Value {
    fn from(text: Text) -> model::Value {
        match text {
            Text::Inline(text) => model::Value::Inline(text),
            Text::Secret(name) => model::Value::Secret(name),
            Text::File(name) => model::Value::File(name),
        }
    }
}

impl From<&model::Value> for Text {
    fn from(value: &model::Value) -> Text {
        match value {
            model::Value::Inline(text) => Text::Inline(text.clone()),
            model::Value::Secret(name) => Text::Secret(name.clone()),
            model::Value::File(name) => Text::File(name.clone()),
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text::Inline(text.to_string())
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Text::Inline(text) => serializer.serialize_str(text),
            Text::Secret(name) => serializer.collect_map([("secret", name)]),
            Text::File(name) => serializer.collect_map([("file", name)]),
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text (in quotes), {secret: NAME} or {file: NAME}")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text::Inline(text.to_string()))
            }
            fn visit_string<E: de::Error>(self, text: String) -> Result<Text, E> {
                Ok(Text::Inline(text))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
                let Some(key) = map.next_key::<String>()? else {
                    return Err(de::Error::custom("{} says nothing: write {secret: NAME} or {file: NAME}"));
                };
                let found = match key.as_str() {
                    "secret" => Text::Secret(map.next_value()?),
                    "file" => Text::File(map.next_value()?),
                    other => return Err(de::Error::unknown_field(other, &["secret", "file"])),
                };
                match map.next_key::<String>()? {
                    None => Ok(found),
                    Some(_) => Err(de::Error::custom("give one of `secret` and `file`, not more")),
                }
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

impl PartialSchema for Text {
    fn schema() -> RefOr<Schema> {
        let elsewhere = |field: &str, description: &str| {
            ObjectBuilder::new()
                .property(field, ObjectBuilder::new().schema_type(Type::String))
                .required(field)
                .description(Some(description))
        };
        OneOfBuilder::new()
            .item(ObjectBuilder::new().schema_type(Type::String).description(Some("The text itself.")))
            .item(elsewhere("secret", "The value of a secret."))
            .item(elsewhere("file", "The newest content of a file."))
            .description(Some("Text that stands here or lives elsewhere."))
            .into()
    }
}

impl ToSchema for Text {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        for (text, ms) in [
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("90d", 90 * 86_400_000),
            ("2w", 14 * 86_400_000),
            ("0s", 0),
            ("0", 0),
            (" 1m500ms ", 60_500),
        ] {
            assert_eq!(text.parse::<Span>().unwrap().0.as_millis(), ms, "{text}");
        }
        for bad in
            ["", "5", "m", "5 m", "-5m", "1.5h", "30m1h", "1m1m", "5min", "99999999999999999999s", "5µs"]
        {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
        assert!("5w5w".parse::<Span>().is_err());
    }

    #[test]
    fn spans_are_shown_shortly() {
        for text in ["90s", "5m", "1h30m", "250ms", "90d", "0s", "1m", "1m500ms"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!(Span::secs(3600).to_string(), "1h");
    }

    #[test]
    fn a_number_is_no_duration_and_the_error_says_what_is() {
        let error = serde_json::from_str::<Span>("5").unwrap_err().to_string();
        assert!(error.contains("a duration with its unit"), "{error}");
    }

    #[test]
    fn times_are_read_with_any_offset_and_shown_in_utc() {
        let time: Time = "2026-02-03T05:05:06.25+01:00".parse().unwrap();
        assert_eq!(time.to_string(), "2026-02-03T04:05:06.25Z");
        assert!("yesterday".parse::<Time>().unwrap_err().contains("RFC 3339"));
        assert!(Time(Timestamp(i64::MAX)).to_string().starts_with("9999"));
    }

    #[test]
    fn text_says_what_it_may_be() {
        let read = |json: &str| serde_json::from_str::<Text>(json);
        assert_eq!(read("\"x\"").unwrap(), Text::from("x"));
        assert_eq!(read("{\"secret\":\"a\"}").unwrap(), Text::Secret(Name::new("a").unwrap()));
        assert_eq!(serde_json::to_string(&Text::File(Name::new("f").unwrap())).unwrap(), "{\"file\":\"f\"}");
        for (json, says) in [
            ("5", "text (in quotes)"),
            ("{}", "says nothing"),
            ("{\"sekret\":\"a\"}", "unknown field `sekret`"),
            ("{\"secret\":\"a\",\"file\":\"b\"}", "not more"),
            ("{\"secret\":\"A B\"}", "is not a name"),
        ] {
            let error = read(json).unwrap_err().to_string();
            assert!(error.contains(says), "{json}: {error}");
        }
    }

    proptest! {
        #[test]
        fn spans_read_back_as_they_are_shown(ms in 0u64..(400 * 86_400_000)) {
            let span = Span(Duration::from_millis(ms));
            prop_assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = text.parse::<Span>();
            let _ = text.parse::<Time>();
        }
    }
}
