//! Every JVM that this peer speaks to: one queue for each, so that all that is wanted of it at one time is asked in one question, and a
//! slow one keeps no other waiting.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::address::{Address, Agent, Route};
use super::error::{Fault, FaultKind};
use super::java::{Java, Target};
use super::jolokia::{Jolokia, is_pattern};
use super::tunnel::{Tunnels, Way};
use super::wire::{self, Browsed, Group, Invocation, MbeanList, Spec, Wanted};
use crate::ssh::Pool;

/// How long the first of several readings waits for the others: those of one node are due in the same moment.
const LINGER: Duration = Duration::from_millis(4);
/// How long a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// JVMs that nobody asked for so long are forgotten.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// Browsing at once: an answer may take a hundred megabytes while it is turned into what is told.
const BROWSING_MAX: usize = 2;
/// The most that is asked in one question.
const WANTED_MAX: usize = 2000;

/// A value of a JVM.
#[derive(Clone, PartialEq, Debug)]
pub struct Reading {
    /// Which MBean of a pattern; absent where the name was none.
    pub instance: Option<String>,
    /// The value.
    pub value: f64,
    /// When it was read.
    pub at: Instant,
}

/// Values that a pattern yielded, and what was wrong with the others.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Readings {
    /// At least one, where there is no fault.
    pub values: Vec<Reading>,
    /// What was wrong with MBeans that yielded none, the first of them; and how many there are.
    pub faults: Option<(Fault, usize)>,
    /// MBeans beyond those that are read.
    pub beyond: u32,
}

/// All JVMs of this peer.
pub struct Jvms {
    java: Java,
    tunnels: Tunnels,
    known: Mutex<HashMap<(String, String), Arc<Jvm>>>,
    browsing: Semaphore,
}

struct Jvm {
    address: Arc<Address>,
    line: Line,
    queue: Mutex<Queue>,
}

/// How a JVM is spoken to.
enum Line {
    Java {
        java: Java,
        /// For what is read again and again.
        target: Arc<Target>,
        /// For what people ask for, which may take long: a connection of its own.
        aside: Arc<Target>,
        _way: Option<Arc<Way>>,
    },
    Jolokia(Jolokia),
    /// Not at all, for this reason.
    None(Fault),
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Item>,
    is_asking: bool,
    used: Option<Instant>,
}

struct Item {
    mbean: String,
    wanted: Wanted,
    limit: Duration,
    answer: oneshot::Sender<Result<Readings, Fault>>,
}

impl Jvms {
    /// JVMs reached by way of `java`, or through the connections of `pool`.
    pub fn new(java: Java, pool: Pool) -> Jvms {
        let browsing = Semaphore::new(BROWSING_MAX);
        Jvms { java, tunnels: Tunnels::new(pool), known: Mutex::default(), browsing }
    }

    /// Whether this peer has Java.
    pub fn has_java(&self) -> bool {
        self.java.has_java()
    }

    /// Hands connections on to nodes, and forgets what nobody asks for. Runs for ever.
    pub async fn run(&self) {
        let forget = async {
            loop {
                sleep(IDLE / 4).await;
                let now = Instant::now();
                self.known.lock().retain(|_, jvm| {
                    let queue = jvm.queue.lock();
                    queue.is_asking || queue.used.is_none_or(|used| now.duration_since(used) < IDLE)
                });
            }
        };
        tokio::join!(self.tunnels.run(), forget);
    }

    /// The JVM `jvm` of `node`. Another address than before is another JVM.
    fn jvm(&self, node: &str, jvm: &str, address: &Arc<Address>) -> Arc<Jvm> {
        let mut known = self.known.lock();
        let key = (node.to_string(), jvm.to_string());
        if let Some(found) = known.get(&key)
            && Arc::ptr_eq(&found.address, address)
        {
            found.queue.lock().used = Some(Instant::now());
            return Arc::clone(found);
        }
        let queue = Queue { used: Some(Instant::now()), ..Queue::default() };
        let made = Arc::new(Jvm {
            address: Arc::clone(address),
            line: self.line(address),
            queue: Mutex::new(queue),
        });
        known.insert(key, Arc::clone(&made));
        made
    }

    fn line(&self, address: &Address) -> Line {
        if address.route.needs_java() && !self.java.has_java() {
            return Line::None(no_java());
        }
        let made = match &address.route {
            Route::Jolokia(url) => Jolokia::new(url, address).map(Line::Jolokia),
            Route::Rmi(agent) => Ok(self.by_java(address, agent, None)),
            Route::OverSsh { node, endpoint, agent } => self
                .tunnels
                .way(node, endpoint, &agent.host)
                .map(|(port, way)| self.by_java(address, agent, Some((port, way)))),
        };
        made.unwrap_or_else(Line::None)
    }

    fn by_java(&self, address: &Address, agent: &Agent, way: Option<(u16, Arc<Way>)>) -> Line {
        let spec = Spec {
            host: &agent.host,
            port: agent.port,
            name: &agent.name,
            credentials: address.credentials.as_ref().map(|(user, password)| (user.as_str(), password)),
            tls: address.tls,
            trust_store: &address.trust_store,
            tunnel: way.as_ref().map(|(port, way)| (*port, way.token())),
            connect_ms: u32::try_from(CONNECT_TIMEOUT.as_millis()).unwrap_or(u32::MAX),
        };
        let target = || Arc::new(Target::new(spec.encode()));
        let (target, aside) = (target(), target());
        Line::Java { java: self.java.clone(), target, aside, _way: way.map(|(_, way)| way) }
    }

    /// Reads an attribute, or a part of it, of an MBean or of all that match a pattern. Takes at most `limit`. Cancel safe.
    ///
    /// # Errors
    /// [`Fault`], also where a pattern matches MBeans and none of them yields a value.
    pub async fn read(
        &self,
        (node, jvm): (&str, &str),
        address: &Arc<Address>,
        mbean: &str,
        (attribute, key): (&str, &str),
        limit: Duration,
    ) -> Result<Readings, Fault> {
        let jvm = self.jvm(node, jvm, address);
        if let Line::None(fault) = &jvm.line {
            return Err(fault.clone());
        }
        let (answer, answered) = oneshot::channel();
        let wanted = Wanted { attribute: attribute.to_string(), key: key.to_string() };
        let begins = {
            let mut queue = jvm.queue.lock();
            queue.waiting.push(Item { mbean: mbean.to_string(), wanted, limit, answer });
            !std::mem::replace(&mut queue.is_asking, true)
        };
        if begins {
            tokio::spawn(jvm.ask_all());
        }
        match timeout(limit, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Fault::unavailable("the question was dropped")),
            Err(_) => Err(Fault::new(FaultKind::TimedOut, format!("no answer within {limit:?}"))),
        }
    }

    /// What MBeans there are.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn browse(
        &self,
        (node, jvm): (&str, &str),
        address: &Arc<Address>,
        list: &MbeanList,
        limit: Duration,
    ) -> Result<Browsed, Fault> {
        let jvm = self.jvm(node, jvm, address);
        let Ok(Ok(_turn)) = timeout(limit, self.browsing.acquire()).await else {
            return Err(Fault::unavailable("others browse through this peer, and took all the time"));
        };
        match &jvm.line {
            Line::None(fault) => Err(fault.clone()),
            Line::Jolokia(agent) => agent.browse(list, limit).await,
            Line::Java { java, aside, .. } => {
                let answer = java.ask(aside, wire::browse(list, limit), limit).await?;
                let text = wire::text(&answer)?;
                serde_json::from_str(&text)
                    .map_err(|error| Fault::unavailable(format!("Java's answer is no JSON: {error}")))
            }
        }
    }

    /// Invokes an operation, and gives its result as text.
    ///
    /// # Errors
    /// [`Fault`]. After [`FaultKind::TimedOut`] and [`FaultKind::Unavailable`] it may have been invoked.
    pub async fn invoke(
        &self,
        (node, jvm): (&str, &str),
        address: &Arc<Address>,
        invocation: &Invocation,
        limit: Duration,
    ) -> Result<String, Fault> {
        let jvm = self.jvm(node, jvm, address);
        match &jvm.line {
            Line::None(fault) => Err(fault.clone()),
            Line::Jolokia(agent) => agent.invoke(invocation, limit).await,
            Line::Java { java, aside, .. } => {
                wire::text(&java.ask(aside, wire::invoke(invocation), limit).await?)
            }
        }
    }
}

fn no_java() -> Fault {
    Fault::new(
        FaultKind::NoJava,
        "the peer that collects this node has no Java runtime: install one (Debian: default-jre-headless), or use \
         transport jolokia",
    )
}

impl Jvm {
    /// Asks until nothing waits any more.
    async fn ask_all(self: Arc<Self>) {
        sleep(LINGER).await;
        loop {
            let items: Vec<Item> = {
                let mut queue = self.queue.lock();
                // Nobody waits for those that took too long.
                queue.waiting.retain(|item| !item.answer.is_closed());
                let count = queue.waiting.len().min(WANTED_MAX);
                if count == 0 {
                    queue.is_asking = false;
                    return;
                }
                queue.waiting.drain(..count).collect()
            };
            let limit = items.iter().map(|item| item.limit).max().unwrap_or_default();
            let groups = group(&items);
            let answered = self.ask(&groups, limit).await;
            hand_out(items, &groups, answered);
        }
    }

    async fn ask(&self, groups: &[Group], limit: Duration) -> Result<Vec<wire::GroupAnswer>, Fault> {
        match &self.line {
            Line::None(fault) => Err(fault.clone()),
            Line::Jolokia(agent) => agent.read(groups, limit).await,
            Line::Java { java, target, .. } => {
                let began = Instant::now();
                let answer = java.ask(target, wire::read(groups, limit), limit).await;
                let left = limit.saturating_sub(began.elapsed());
                let answer = match answer {
                    // The child ended. Reading does no harm, so that the next one is asked the same while there is time.
                    Err(fault) if fault.kind == FaultKind::Unavailable && left > limit / 2 => {
                        java.ask(target, wire::read(groups, left), left).await
                    }
                    answer => answer,
                };
                wire::values(&answer?, groups)
            }
        }
    }
}

/// All that is wanted of one MBean together, each once.
fn group(items: &[Item]) -> Vec<Group> {
    let mut groups: BTreeMap<&str, Vec<Wanted>> = BTreeMap::new();
    for item in items {
        let wanted = groups.entry(&item.mbean).or_default();
        if !wanted.contains(&item.wanted) {
            wanted.push(item.wanted.clone());
        }
    }
    let mut groups: Vec<Group> =
        groups.into_iter().map(|(mbean, wanted)| (mbean.to_string(), wanted)).collect();
    // Patterns may take long: what is certain comes first.
    groups.sort_by_key(|(mbean, _)| is_pattern(mbean));
    groups
}

fn hand_out(items: Vec<Item>, groups: &[Group], answered: Result<Vec<wire::GroupAnswer>, Fault>) {
    let at = Instant::now();
    for item in items {
        let result = match &answered {
            Err(fault) => Err(fault.clone()),
            Ok(answers) => {
                let group = groups.iter().position(|(mbean, _)| *mbean == item.mbean);
                let place = group
                    .and_then(|group| Some((group, groups[group].1.iter().position(|w| *w == item.wanted)?)));
                match place.and_then(|(group, wanted)| Some((answers.get(group)?, wanted))) {
                    Some((answer, wanted)) => pick(answer, wanted, at),
                    None => Err(Fault::unavailable("the answer has no place for it")),
                }
            }
        };
        // Who waited too long is not there any more.
        let _ = item.answer.send(result);
    }
}

fn pick(answer: &wire::GroupAnswer, wanted: usize, at: Instant) -> Result<Readings, Fault> {
    let (all, instances) = answer.as_ref().map_err(Clone::clone)?;
    let mut readings = Readings {
        beyond: all.saturating_sub(u32::try_from(instances.len()).unwrap_or(u32::MAX)),
        ..Readings::default()
    };
    for (name, values) in instances {
        match values.get(wanted) {
            Some(Ok(value)) => readings.values.push(Reading {
                instance: Some(name.clone()).filter(|name| !name.is_empty()),
                value: *value,
                at,
            }),
            Some(Err(fault)) => match &mut readings.faults {
                Some((_, count)) => *count += 1,
                none => *none = Some((fault.clone(), 1)),
            },
            None => {}
        }
    }
    match &readings.faults {
        Some((fault, _)) if readings.values.is_empty() => Err(fault.clone()),
        _ => Ok(readings),
    }
}
