//! A network of its own for each peer: a namespace with one address, joined to the others' by a bridge. The bridge has the
//! first address; clients and managed hosts live there.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::shim::compiled;

/// The links between peers, and between each peer and everybody else.
pub(crate) struct Net {
    /// Begins the names of everything made here: there may be others.
    tag: String,
    subnet: String,
    peers: usize,
}

/// Where frames go that shall not arrive: nobody has it.
const NOBODY: &str = "02:00:00:00:de:ad";

impl Net {
    /// Makes the bridge.
    pub(crate) fn create() -> Result<Net, String> {
        sweep();
        let pid = std::process::id();
        let tag = format!("rst{pid}");
        let subnet = (0..256u32)
            .map(|more| {
                let number = pid.wrapping_mul(7).wrapping_add(more * 263);
                format!("10.{}.{}", 128 + number % 64, (number / 64) % 256)
            })
            .find(|subnet| {
                ip_says(&["-o", "addr", "show", "to", &format!("{subnet}.0/24")])
                    .is_ok_and(|said| said.is_empty())
            })
            .ok_or("no private network is free")?;
        let net = Net { tag, subnet, peers: 0 };
        ip(&["link", "add", &net.tag, "type", "bridge"])?;
        ip(&["addr", "add", &format!("{}.1/24", net.subnet), "dev", &net.tag])?;
        ip(&["link", "set", &net.tag, "up"])?;
        Ok(net)
    }

    /// Adds a peer's namespace; gives its number, from 0.
    pub(crate) fn add_peer(&mut self) -> Result<usize, String> {
        let place = self.peers;
        let (ns, link) = (self.namespace(place), self.link_name(place));
        ip(&["netns", "add", &ns])?;
        self.peers += 1;
        ip(&["link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &ns])?;
        ip(&["link", "set", &link, "master", &self.tag, "up"])?;
        ip(&["-n", &ns, "link", "set", "lo", "up"])?;
        ip(&["-n", &ns, "addr", "add", &format!("{}/24", self.address(place)), "dev", "eth0"])?;
        ip(&["-n", &ns, "link", "set", "eth0", "up"])?;
        Ok(place)
    }

    /// Another address on the bridge's side, for a managed host.
    pub(crate) fn add_host(&self, number: u8) -> Result<String, String> {
        let address = format!("{}.{}", self.subnet, 200 + number);
        ip(&["addr", "add", &format!("{address}/24"), "dev", &self.tag])?;
        Ok(address)
    }

    /// A peer's address.
    pub(crate) fn address(&self, place: usize) -> String {
        format!("{}.{}", self.subnet, 11 + place)
    }

    /// A peer's namespace.
    pub(crate) fn namespace(&self, place: usize) -> String {
        format!("{}n{place}", self.tag)
    }

    fn link_name(&self, place: usize) -> String {
        format!("{}v{place}", self.tag)
    }

    /// Takes a peer's cable out, or puts it in.
    pub(crate) fn link(&self, place: usize, up: bool) {
        let state = if up { "up" } else { "down" };
        expect(ip(&["link", "set", &self.link_name(place), state]));
    }

    /// What `from` sends to `to` is lost from now on, silently; what `to` sends arrives.
    pub(crate) fn cut(&self, from: usize, to: usize) {
        let (ns, to) = (self.namespace(from), self.address(to));
        expect(ip(&[
            "-n",
            &ns,
            "neigh",
            "replace",
            &to,
            "lladdr",
            NOBODY,
            "nud",
            "permanent",
            "dev",
            "eth0",
        ]));
    }

    /// Ends a [`Net::cut`].
    pub(crate) fn heal(&self, from: usize, to: usize) {
        let (ns, to) = (self.namespace(from), self.address(to));
        let _ = ip(&["-n", &ns, "neigh", "del", &to, "dev", "eth0"]);
    }

    /// All cables in, all cuts healed.
    pub(crate) fn heal_all(&self) {
        for from in 0..self.peers {
            self.link(from, true);
            for to in (0..self.peers).filter(|to| *to != from) {
                self.heal(from, to);
            }
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for place in 0..self.peers {
            // Its end of the link goes with it, and so does ours.
            let _ = ip(&["netns", "del", &self.namespace(place)]);
            let _ = ip(&["link", "del", &self.link_name(place)]);
        }
        let _ = ip(&["link", "del", &self.tag]);
    }
}

/// Whether namespaces and bridges may be made here; why not.
pub(crate) fn permitted() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("it takes root".to_string());
    }
    let name = format!("rst{}t", std::process::id());
    ip(&["netns", "add", &name])?;
    let made = ip(&["link", "add", &name, "type", "bridge"]);
    let _ = ip(&["link", "del", &name]);
    ip(&["netns", "del", &name])?;
    made
}

/// Removes what processes left that were killed.
fn sweep() {
    let gone = |name: &str, end: char| {
        let pid = name.strip_prefix("rst")?.split(end).next()?.parse::<u32>().ok()?;
        (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    };
    for line in ip_says(&["netns", "list"]).unwrap_or_default().lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        if gone(name, 'n').is_some() {
            let _ = ip(&["netns", "del", name]);
        }
    }
    for line in ip_says(&["-br", "link", "show", "type", "bridge"]).unwrap_or_default().lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        if gone(name, 'v').is_some() {
            let _ = ip(&["link", "del", name]);
        }
    }
}

fn expect(done: Result<(), String>) {
    if let Err(why) = done {
        panic!("the network cannot be changed: {why}");
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    ip_says(arguments).map(|_| ())
}

fn ip_says(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// A process through which peers' packets to each other go, and which treats them badly. Dropped, packets go straight again.
pub(crate) struct Switch {
    process: Child,
    /// Namespace and address of each.
    peers: Vec<(String, String)>,
}

impl Net {
    /// Puts a switch between these peers.
    pub(crate) fn bad(&self, places: &[usize]) -> Result<Switch, String> {
        let peers: Vec<(String, String)> =
            places.iter().map(|place| (self.namespace(*place), self.address(*place))).collect();
        let mut process = Command::new(compiled("switch", &[]))
            .args(peers.iter().map(|(namespace, address)| format!("{namespace}={address}")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut line = String::new();
        let output = process.stdout.take().ok_or("it has no output")?;
        let read = BufReader::new(output).read_line(&mut line).map_err(|error| error.to_string());
        let switch = Switch { process, peers };
        read?;
        if line != "ready\n" {
            return Err("the switch did not start".to_string());
        }
        for (namespace, _) in &switch.peers {
            ip(&["-n", namespace, "link", "set", "bad0", "up"])?;
        }
        for (namespace, own) in &switch.peers {
            for (_, other) in switch.peers.iter().filter(|(_, other)| other != own) {
                ip(&["-n", namespace, "route", "replace", other, "dev", "bad0", "src", own])?;
            }
        }
        Ok(switch)
    }
}

impl Switch {
    /// How bad it is: a delay, up to so much more of it, and shares that are lost and doubled.
    pub(crate) fn set(
        &mut self,
        delay: Duration,
        jitter: Duration,
        lost: f64,
        doubled: f64,
    ) -> Result<(), String> {
        let input = self.process.stdin.as_mut().ok_or("it has no input")?;
        let (delay, jitter) = (delay.as_micros(), jitter.as_micros());
        writeln!(input, "{delay} {jitter} {} {}", (lost * 1e6) as u64, (doubled * 1e6) as u64)
            .map_err(|error| error.to_string())
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        // The routes go with the devices, and those with the process.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
