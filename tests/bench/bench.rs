//! What rscaler costs: whole control planes of three real peers with fsync on, under the load of `scripts/bench`.
//!
//! Each row of the table is a module here. A figure of CPU is user and system time of all three peers; it holds on a busy
//! machine, where times by the clock hold only beside the load average that is shown with them. Nothing is asserted but
//! that answers are right.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../cluster/hosts.rs"]
#[allow(dead_code)]
mod hosts;
#[path = "../cluster/jvms.rs"]
#[allow(dead_code)]
mod jvms;
#[path = "../cluster/plane.rs"]
#[allow(dead_code)]
mod plane;
#[path = "../cluster/wait.rs"]
mod wait;

mod failover;
mod fanout;
mod fleet_data;
mod flood;
mod http;
mod ingest;
mod jmx;
mod process;
mod reaction;
mod size;
mod steady;
mod stream;
mod table;
mod tasks;
mod writes;

use table::Table;

/// What can be measured, in the order of the table.
const ROWS: [(&str, &str); 10] = [
    ("A", "small replicated writes"),
    ("failover", "kill -9 of the leader to the next acknowledged write"),
    ("steady", "idle, and with every core busy: 10 minutes"),
    ("B", "samples: ingest, disk, queries"),
    ("D", "attributes of JVMs"),
    ("E", "a command on many hosts"),
    ("F", "tasks"),
    ("H", "from a sample to the command it sets off"),
    ("I", "memory, start with a long log"),
    ("flood", "100,000 commands at once, and what they print"),
];

/// How it is to be measured.
pub(crate) struct Asked {
    rows: Vec<String>,
    /// How often each load is repeated.
    pub(crate) runs: usize,
    /// Whether others are measured beside.
    pub(crate) compare: bool,
    /// Numbers of clients for row A.
    pub(crate) clients: Vec<usize>,
    /// Hours of samples for row B, beside three times as many for a tenth of the hosts.
    pub(crate) hours: u64,
    /// How long a leader is to stay with every core busy.
    pub(crate) minutes: u64,
}

impl Asked {
    fn read(arguments: impl Iterator<Item = String>) -> Result<Asked, String> {
        let mut asked = Asked {
            rows: Vec::new(),
            runs: 3,
            compare: false,
            clients: vec![1, 16, 64, 256],
            hours: 6,
            minutes: 10,
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} takes a value"));
            match argument.as_str() {
                // What cargo adds.
                "--bench" => {}
                "--compare" => asked.compare = true,
                "--runs" => asked.runs = number(&value()?)?,
                "--clients" => {
                    asked.clients = value()?.split(',').map(number).collect::<Result<_, _>>()?;
                }
                "--minutes" => asked.minutes = number(&value()?)? as u64,
                "--hours" => asked.hours = number(&value()?)? as u64,
                row if ROWS.iter().any(|(name, _)| name.eq_ignore_ascii_case(row)) => {
                    asked.rows.push(row.to_ascii_lowercase());
                }
                other => {
                    let rows: Vec<String> =
                        ROWS.iter().map(|(name, what)| format!("  {name:<9} {what}")).collect();
                    return Err(format!(
                        "`{other}` is no row. Rows:\n{}\nOptions: --runs N, --compare, --clients N,N, --hours N, --minutes N",
                        rows.join("\n")
                    ));
                }
            }
        }
        Ok(asked)
    }

    fn wants(&self, row: &str) -> bool {
        self.rows.is_empty() || self.rows.contains(&row.to_ascii_lowercase())
    }
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or(format!("`{text}` is no number above 0"))
}

#[tokio::main]
async fn main() {
    let asked = match Asked::read(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("{why}");
            std::process::exit(2);
        }
    };
    if std::env::var_os("RSCALER_SERVER_REQUESTS_PER_SECOND").is_none() {
        eprintln!("one token may not make so many requests: scripts/bench raises that bound");
        std::process::exit(2);
    }
    let mut table = Table::default();
    if asked.wants("A") {
        writes::measure(&asked, &mut table).await;
    }
    if asked.wants("failover") {
        failover::measure(&asked, &mut table).await;
    }
    if asked.wants("steady") {
        steady::measure(&asked, &mut table).await;
    }
    if asked.wants("B") {
        ingest::measure(&asked, &mut table).await;
    }
    if asked.wants("D") {
        jmx::measure(&asked, &mut table).await;
    }
    if asked.wants("E") {
        fanout::measure(&asked, &mut table).await;
    }
    if asked.wants("F") {
        tasks::measure(&asked, &mut table).await;
    }
    if asked.wants("H") {
        reaction::measure(&asked, &mut table).await;
    }
    if asked.wants("I") {
        size::measure(&asked, &mut table).await;
    }
    if asked.wants("flood") {
        flood::measure(&asked, &mut table).await;
    }
    println!("\n{table}");
}
