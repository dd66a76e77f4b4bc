//! What a host's scripts can read at one moment, and how it is written down.

use serde_json::json;

/// All of a host's memory, in kB.
const MEMORY_KB: f64 = 8_165_432.0;

/// The figures of one second.
#[derive(Debug, Clone)]
pub(super) struct Figures {
    /// Seconds since the host was started.
    pub(super) seconds: u64,
    /// Share of all cores that is busy, 0 to 1.
    pub(super) busy: f64,
    /// The load averages, as `loadavg` has them.
    pub(super) load: [f64; 3],
    /// Share of the memory that is used, 0 to 1.
    pub(super) memory: f64,
    /// Requests in this second.
    pub(super) requests: f64,
    /// What a request takes.
    pub(super) latency_ms: f64,
    /// Requests in this second that failed.
    pub(super) errors: f64,
    /// Requests since the start.
    pub(super) requests_total: f64,
    /// Failed requests since the start.
    pub(super) errors_total: f64,
}

impl Figures {
    /// The files that show these figures: paths relative to the host's directory, and texts.
    pub(super) fn files(&self) -> [(&'static str, String); 7] {
        [
            ("proc/loadavg", self.loadavg()),
            ("proc/meminfo", self.meminfo()),
            ("proc/uptime", self.uptime()),
            ("proc/cpu", format!("{:.1}\n", self.busy * 100.0)),
            ("www/requests", self.requests()),
            ("www/metrics", self.metrics()),
            ("www/status.json", self.status()),
        ]
    }

    fn loadavg(&self) -> String {
        let [load1, load5, load15] = self.load;
        let running = (self.busy * f64::from(super::CORES)).round().max(1.0);
        format!("{load1:.2} {load5:.2} {load15:.2} {running}/184 {}\n", 1_000 + self.seconds % 30_000)
    }

    fn meminfo(&self) -> String {
        let used = (MEMORY_KB * self.memory).round();
        let cached = ((MEMORY_KB - used) * 0.6).round();
        let free = MEMORY_KB - used - cached;
        let available = MEMORY_KB - used;
        let line = |name: &str, kb: f64| format!("{:<16}{kb:>8} kB\n", format!("{name}:"));
        [
            ("MemTotal", MEMORY_KB),
            ("MemFree", free),
            ("MemAvailable", available),
            ("Buffers", 0.0),
            ("Cached", cached),
            ("SwapTotal", 0.0),
            ("SwapFree", 0.0),
        ]
        .map(|(name, kb)| line(name, kb))
        .concat()
    }

    fn uptime(&self) -> String {
        format!("{}.00 {:.2}\n", self.seconds, self.seconds as f64 * (1.0 - self.busy))
    }

    fn requests(&self) -> String {
        format!(
            "# the web service, over the last second\nrate={:.1}\nlatency_ms={:.1}\nerrors={:.2}\n",
            self.requests, self.latency_ms, self.errors
        )
    }

    fn metrics(&self) -> String {
        format!(
            "# HELP http_requests_total Requests since the start.\n\
             # TYPE http_requests_total counter\n\
             http_requests_total{{code=\"200\",handler=\"/\"}} {:.0}\n\
             http_requests_total{{code=\"500\",handler=\"/\"}} {:.0}\n\
             # HELP http_latency_seconds What a request takes.\n\
             # TYPE http_latency_seconds gauge\n\
             http_latency_seconds {:.4}\n\
             # HELP cpu_busy_ratio Share of the cores that is busy.\n\
             # TYPE cpu_busy_ratio gauge\n\
             cpu_busy_ratio {:.3}\n",
            self.requests_total - self.errors_total,
            self.errors_total,
            self.latency_ms / 1e3,
            self.busy,
        )
    }

    fn status(&self) -> String {
        let rounded = |value: f64| (value * 10.0).round() / 10.0;
        let status = json!({
            "status": if self.errors > 0.5 { "degraded" } else { "ok" },
            "healthy": self.errors <= 0.5,
            "requests": {"rate": rounded(self.requests), "total": self.requests_total.round()},
            "latency_ms": rounded(self.latency_ms),
            "workers": {"busy": (self.busy * 16.0).round(), "max": 16},
        });
        format!("{status}\n")
    }
}
