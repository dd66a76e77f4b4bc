//! Questions to Java and their answers, as `java/rscaler` reads and writes them: big-endian, texts with their length before them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::{Fault, FaultKind};
use super::worker;
use crate::ssh::Secret;

const READ: u8 = 1;
const BROWSE: u8 = 2;
const INVOKE: u8 = 3;

/// How a JVM is reached, for Java.
pub(super) struct Spec<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    /// The agent's name in the registry.
    pub(super) name: &'a str,
    pub(super) credentials: Option<(&'a str, &'a Secret)>,
    pub(super) tls: bool,
    pub(super) trust_store: &'a [u8],
    /// Where connections are handed on, and what to say there.
    pub(super) tunnel: Option<(u16, [u8; 16])>,
    pub(super) connect_ms: u32,
}

/// An attribute, or a part of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Wanted {
    pub(super) attribute: String,
    /// Empty for the whole.
    pub(super) key: String,
}

/// What is read of one MBean or of all that match a pattern.
pub(super) type Group = (String, Vec<Wanted>);

/// Values of one MBean, in the order in which they were asked for; the instance is empty where the name was no pattern.
pub(super) type Instance = (String, Vec<Result<f64, Fault>>);

/// What a group yielded: how many MBeans match, and the values of each.
pub(super) type GroupAnswer = Result<(u32, Vec<Instance>), Fault>;

/// An operation to be invoked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Invocation {
    /// The MBean.
    pub mbean: String,
    /// The operation.
    pub operation: String,
    /// As texts.
    pub args: Vec<String>,
    /// Types of the arguments; empty where the operation's own are to be found out.
    pub signature: Vec<String>,
}

/// What is to be told of MBeans.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MbeanList {
    /// An object name or a pattern.
    pub pattern: String,
    /// How many at most.
    pub limit: u32,
    /// After this name; from the first where empty.
    pub after: String,
    /// Whether attributes are read.
    pub values: bool,
}

/// MBeans of a JVM as JSON: `matched`, `mbeans` and `next`.
pub type Browsed = serde_json::Value;

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, number: usize) {
        self.0.extend(u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.extend(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn limit(&mut self, limit: Duration) {
        self.number(usize::try_from(limit.as_millis()).unwrap_or(usize::MAX).clamp(1, 1 << 30));
    }

    fn flag(&mut self, flag: bool) {
        self.0.push(u8::from(flag));
    }
}

impl Spec<'_> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.text(self.host);
        out.number(usize::from(self.port));
        out.text(self.name);
        out.flag(self.credentials.is_some());
        if let Some((user, password)) = self.credentials {
            out.text(user);
            out.text(password.expose());
        }
        out.flag(self.tls);
        out.bytes(self.trust_store);
        out.number(self.tunnel.map_or(0, |(port, _)| usize::from(port)));
        out.bytes(self.tunnel.as_ref().map_or(&[][..], |(_, token)| token));
        out.number(usize::try_from(self.connect_ms).unwrap_or(usize::MAX));
        out.0
    }
}

/// `limit`: how long the whole may take.
pub(super) fn read(groups: &[Group], limit: Duration) -> Vec<u8> {
    let mut out = Writer(vec![READ]);
    out.limit(limit);
    out.number(groups.len());
    for (mbean, wanted) in groups {
        out.text(mbean);
        out.number(wanted.len());
        for one in wanted {
            out.text(&one.attribute);
            out.text(&one.key);
        }
    }
    out.0
}

pub(super) fn browse(list: &MbeanList, limit: Duration) -> Vec<u8> {
    let mut out = Writer(vec![BROWSE]);
    out.limit(limit);
    out.text(&list.pattern);
    out.0.extend(list.limit.to_be_bytes());
    out.text(&list.after);
    out.flag(list.values);
    out.0
}

pub(super) fn invoke(invocation: &Invocation) -> Vec<u8> {
    let mut out = Writer(vec![INVOKE]);
    out.number(0);
    out.text(&invocation.mbean);
    out.text(&invocation.operation);
    for texts in [&invocation.args, &invocation.signature] {
        out.number(texts.len());
        for text in texts {
            out.text(text);
        }
    }
    out.0
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn number(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    fn double(&mut self) -> Option<f64> {
        self.take(8)?.try_into().ok().map(f64::from_be_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// A fault of which the kind was read.
    fn fault(&mut self, kind: u8) -> Option<Fault> {
        let kind = match kind {
            1 => FaultKind::Unreachable,
            2 => FaultKind::Authentication,
            3 => FaultKind::Missing,
            4 => FaultKind::Threw,
            5 => FaultKind::NotANumber,
            6 => FaultKind::TooLarge,
            worker::TIMED_OUT => FaultKind::TimedOut,
            9 => FaultKind::Invalid,
            _ => FaultKind::Unavailable,
        };
        self.text().map(|text| Fault::new(kind, text))
    }
}

fn damaged() -> Fault {
    Fault::unavailable("Java's answer is not understood")
}

/// The content of an answer, or the fault that it is.
pub(super) fn judge(mut answer: Vec<u8>) -> Result<Vec<u8>, Fault> {
    match answer.first() {
        Some(0) => {
            answer.remove(0);
            Ok(answer)
        }
        Some(kind) => Err(Reader(&answer[1..]).fault(*kind).unwrap_or_else(damaged)),
        None => Err(damaged()),
    }
}

pub(super) fn text(answer: &[u8]) -> Result<String, Fault> {
    Reader(answer).text().ok_or_else(damaged)
}

/// The values that `groups` asked for.
pub(super) fn values(answer: &[u8], groups: &[Group]) -> Result<Vec<GroupAnswer>, Fault> {
    let mut reader = Reader(answer);
    let mut read = || -> Option<Vec<GroupAnswer>> {
        groups
            .iter()
            .map(|(_, wanted)| {
                let status = reader.byte()?;
                if status != 0 {
                    return Some(Err(reader.fault(status)?));
                }
                let all = reader.number()?;
                let instances = (0..reader.number()?)
                    .map(|_| {
                        let name = reader.text()?;
                        let values = wanted
                            .iter()
                            .map(|_| {
                                Some(match reader.byte()? {
                                    0 => Ok(reader.double()?),
                                    kind => Err(reader.fault(kind)?),
                                })
                            })
                            .collect::<Option<Vec<_>>>()?;
                        Some((name, values))
                    })
                    .collect::<Option<Vec<_>>>()?;
                Some(Ok((all, instances)))
            })
            .collect()
    };
    read().ok_or_else(damaged)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn group() -> Group {
        let wanted = |attribute: &str, key: &str| Wanted { attribute: attribute.into(), key: key.into() };
        ("java.lang:type=Memory".into(), vec![wanted("HeapMemoryUsage", "used"), wanted("Verbose", "")])
    }

    #[test]
    fn values_and_faults_are_read_in_order() {
        let mut out = Writer::default();
        out.0.push(0);
        out.number(5);
        out.number(1);
        out.text("G1 Old Gen");
        out.0.push(0);
        out.0.extend(2.5f64.to_be_bytes());
        out.0.push(4);
        out.text("threw X");
        let read = values(&out.0, &[group()]).unwrap();
        let threw = Fault::new(FaultKind::Threw, "threw X");
        assert_eq!(read, [Ok((5, vec![("G1 Old Gen".to_string(), vec![Ok(2.5), Err(threw)])]))]);
    }

    #[test]
    fn a_password_does_not_show() {
        let password = Secret::new("hidden-word".to_string());
        let spec = Spec {
            host: "h",
            port: 1,
            name: "jmxrmi",
            credentials: Some(("u", &password)),
            tls: false,
            trust_store: &[],
            tunnel: None,
            connect_ms: 5,
        };
        let target = super::super::java::Target::new(spec.encode());
        assert!(!format!("{target:?}").contains("104"), "no bytes of it either");
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(bytes: Vec<u8>) {
            let _ = values(&bytes, &[group(), group()]);
            let _ = judge(bytes.clone());
            let _ = text(&bytes);
        }
    }
}
