//! Row D: what reading JVMs costs: sixteen attributes of each of five, as fast as they are answered, on kept connections. Ours is this
//! process and the child that embeds Java; the watched JVMs are counted with all that is theirs. Then the whole [`product`]; and
//! with `--compare` the [`others`], in turns with ours.

mod others;
mod product;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use rscaler::jvm::{Address, Agent, JavaChoice, Jvms, Options, Route, java};
use rscaler::ssh::{MemoryHostKeys, Pool};

use crate::Asked;
use crate::jvms::{Door, Jvm};
use crate::plane::binary;
use crate::process::Usage;
use crate::table::Table;

/// Readings of all JVMs in one run; the first tenth warms up and does not count.
const POLLS: usize = 2000;
const LIMIT: Duration = Duration::from_secs(20);

/// MBean, attribute, key, and the least that its value can be.
const ATTRIBUTES: [(&str, &str, &str, f64); 16] = [
    ("java.lang:type=Memory", "HeapMemoryUsage", "used", 1e5),
    ("java.lang:type=Memory", "HeapMemoryUsage", "committed", 1e5),
    ("java.lang:type=Memory", "HeapMemoryUsage", "max", 1e6),
    ("java.lang:type=Memory", "NonHeapMemoryUsage", "used", 1e5),
    ("java.lang:type=Memory", "NonHeapMemoryUsage", "committed", 1e5),
    ("java.lang:type=Threading", "ThreadCount", "", 5.0),
    ("java.lang:type=Threading", "DaemonThreadCount", "", 3.0),
    ("java.lang:type=Threading", "PeakThreadCount", "", 5.0),
    ("java.lang:type=ClassLoading", "LoadedClassCount", "", 500.0),
    ("java.lang:type=ClassLoading", "TotalLoadedClassCount", "", 500.0),
    ("java.lang:type=OperatingSystem", "ProcessCpuTime", "", 1e6),
    ("java.lang:type=OperatingSystem", "OpenFileDescriptorCount", "", 5.0),
    ("java.lang:type=GarbageCollector,name=Copy", "CollectionCount", "", 0.0),
    ("java.lang:type=GarbageCollector,name=Copy", "CollectionTime", "", 0.0),
    ("java.lang:type=Compilation", "TotalCompilationTime", "", 1.0),
    ("java.lang:type=Runtime", "Uptime", "", 1.0),
];

/// Reads everything of some JVMs once, and checks it.
async fn poll(jvms: &Jvms, addresses: &[(String, Arc<Address>)]) {
    let all = addresses.iter().flat_map(|(node, address)| {
        ATTRIBUTES.iter().map(move |(mbean, attribute, key, least)| async move {
            let read = jvms.read((node, "app"), address, mbean, (attribute, key), LIMIT).await;
            let value = read.unwrap_or_else(|fault| panic!("{mbean} {attribute}: {fault}")).values[0].value;
            assert!(value >= *least && value.is_finite(), "{mbean} {attribute} {key}: {value}");
        })
    });
    join_all(all).await;
}

fn address(port: u16) -> (String, Arc<Address>) {
    let agent = Agent { host: "127.0.0.1".to_string(), port, name: "jmxrmi".to_string() };
    let address =
        Address { route: Route::Rmi(agent), credentials: None, tls: false, trust_store: Vec::new() };
    (format!("n{port}"), Arc::new(address))
}

pub(crate) async fn measure(asked: &Asked, table: &mut Table) {
    let mut options = Options::new(&JavaChoice::Any);
    if options.libjvm.is_none() {
        return table.skipped("D", "JMX", "there is no Java");
    }
    options.program = binary().to_path_buf();
    let watched: Vec<Jvm> = (0..5).map(|_| Jvm::start()).collect();
    let five: Vec<(String, Arc<Address>)> = watched.iter().map(|jvm| address(jvm.port)).collect();
    // Fifty agents in one JVM: what is measured is how many can be asked, and not how many can be run.
    let (many, ports) = Jvm::start_many(&Door::default(), 50);
    let fifty: Vec<(String, Arc<Address>)> = ports.iter().map(|port| address(*port)).collect();
    let theirs: Vec<u32> = watched.iter().map(Jvm::pid).collect();

    let (mut ours_ms, mut theirs_ms, mut rss) = (Vec::new(), Vec::new(), Vec::new());
    let mut rates: [Vec<f64>; 3] = Default::default();
    let ports: Vec<u16> = watched.iter().map(|jvm| jvm.port).collect();
    let (mut kept, mut gateway) = (Vec::new(), Vec::new());
    for _ in 0..asked.runs {
        let (java, supervisor) = java(options.clone());
        let running = tokio::spawn(supervisor.run());
        let pool = Pool::new(rscaler::ssh::Options::default(), Arc::new(MemoryHostKeys::default()));
        let jvms = Jvms::new(java.clone(), pool);
        for _ in 0..POLLS / 10 {
            poll(&jvms, &five).await;
        }
        let ours = [std::process::id(), java.pid().expect("the child runs")];
        let (before, before_theirs) = (Usage::of(&ours), Usage::of(&theirs));
        for _ in 0..POLLS {
            poll(&jvms, &five).await;
        }
        let attributes = (POLLS * five.len() * ATTRIBUTES.len()) as f64;
        ours_ms.push(Usage::of(&ours).since(before).cpu * 1000.0 / attributes);
        theirs_ms.push(Usage::of(&theirs).since(before_theirs).cpu * 1000.0 / attributes);
        rss.push(Usage::of(&ours[1..]).rss_mb);
        for (rates, count) in rates.iter_mut().zip([1, 10, 50]) {
            let some = &fifty[..count];
            poll(&jvms, some).await;
            let (began, mut polls) = (Instant::now(), 0);
            while began.elapsed() < Duration::from_secs(3) {
                poll(&jvms, some).await;
                polls += 1;
            }
            rates.push((polls * count * ATTRIBUTES.len()) as f64 / began.elapsed().as_secs_f64());
        }
        drop((java, jvms));
        running.abort();
        if asked.compare {
            kept.push(others::kept_client(&ports));
        }
        if asked.compare && others::gateway_is_installed() {
            gateway.push(others::gateway(&ports).await);
        }
    }
    table.at_most("D", "CPU an attribute, 5 JVMs × 16", &ours_ms, "ms", 0.05);
    table.at_most("D", "the watched JVM's CPU an attribute", &theirs_ms, "ms", 0.08);
    table.at_most("D", "memory of the child, 5 JVMs", &rss, "MB", 60.0);
    for (rates, work) in rates.iter().zip(["attributes, 1 JVM", "attributes, 10 JVMs", "attributes, 50 JVMs"])
    {
        table.note("D", work, rates, "/s");
    }
    drop(many);
    for (name, runs) in [("plain Java client", &kept), ("Zabbix's gateway", &gateway)] {
        if !runs.is_empty() {
            let of = |figure: fn(&others::Other) -> f64| runs.iter().map(figure).collect::<Vec<f64>>();
            table.note("D", &format!("{name}: CPU an attribute"), &of(|run| run.cpu_ms), "ms");
            table.note("D", &format!("{name}: memory"), &of(|run| run.rss_mb), "MB");
        }
    }
    if asked.compare && gateway.is_empty() {
        table.skipped("D", "Zabbix's gateway", "not installed (Debian: zabbix-java-gateway)");
    }
    product::measure(&watched, table).await;
}
