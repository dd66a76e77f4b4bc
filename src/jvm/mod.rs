//! Speaking to JVMs over JMX, and the child process that embeds a JVM for it.
//!
//! ```text
//!  collectors, executors, API ---> [jvms]: one queue for each JVM ---> [java] ===pipe===> [worker]: the child ---> RMI ---> a JVM
//!                                     |        all that waits is one question                embeds Java
//!                                     +---> [jolokia]: HTTP, without Java
//! ```
//!
//! Java runs in a child of this process, the same program started again: whatever happens to it, a crash, a hang, no memory left,
//! costs only what was asked of it, and the next question starts another one. What it does is written in Java (`java/`), as little as
//! can be: it has the JDK's classes and ours, opens no connection but to the addresses that profiles name, and takes bounded
//! answers. Time is bounded three times: connections and answers within Java, a watchdog in the child that closes the connections of
//! what takes too long, and the one who asks, who waits no longer whatever the child does.

mod address;
mod embed;
mod error;
mod find;
mod frame;
mod java;
mod jolokia;
mod jvms;
mod shop;
mod trust;
mod tunnel;
mod wire;
mod worker;

pub use address::{Address, Agent, Route};
pub use error::{Fault, FaultKind};
pub use find::{JavaChoice, libjvm};
pub use java::{Java, Options, Supervisor, java};
pub use jvms::{Jvms, Reading, Readings};
pub use shop::run as run_shop;
pub use trust::TrustStores;
pub use wire::{Browsed, Invocation, MbeanList};
pub use worker::run as run_worker;

/// The name of the hidden command by which this program becomes the child.
pub const WORKER_COMMAND: &str = "jvm-worker";
/// The same for the JVM that the demo watches.
pub const SHOP_COMMAND: &str = "jvm-shop";
