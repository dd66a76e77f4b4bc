//! What the hosts of a fleet measure, by seed: two-decimal random walks, loads, memory in MB, byte and operation counters
//! with low-order noise, a saw-tooth heap, GC, threads, uptime, constants; twenty counters a host.

/// What there is.
pub(crate) const NAMES: [&str; 12] = [
    "cpu",
    "walk",
    "load",
    "memory",
    "bytes",
    "bytes-even",
    "operations",
    "heap",
    "gc-count",
    "threads",
    "uptime",
    "constant",
];
/// The kinds of a host's twenty counters, as indices of [`NAMES`].
pub(crate) const HOST: [usize; 20] = [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5, 6, 7, 8, 9, 10, 11, 11];

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// Evenly in 0..1.
    pub(crate) fn even(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Near enough to normal, mean 0, deviation 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.even()).sum::<f64>() - 6.0
    }
}

/// One series' values, one after the other.
pub(crate) struct Source {
    kind: usize,
    random: Random,
    at: f64,
    rate: f64,
    taken: u64,
}

impl Source {
    pub(crate) fn new(kind: usize, seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(7_919) + 1);
        let start = random.even();
        let at = match NAMES[kind] {
            "cpu" | "walk" => 20.0 + 60.0 * start,
            "load" => 2.0 * start,
            "memory" => 4_000.0 + 8_000.0 * start,
            "bytes" | "bytes-even" => 1e11 * start,
            "operations" => 1e6 * start,
            "heap" => 2e8,
            "gc-count" | "threads" => 80.0,
            "uptime" => 1e6,
            _ => 8_192.0,
        };
        let rate = 1e5 + 1e6 * random.even();
        Self { kind, random, at: at.floor(), rate, taken: 0 }
    }

    pub(crate) fn next(&mut self) -> f64 {
        let Self { kind, random, at, rate, taken } = self;
        *taken += 1;
        let two_decimals = |x: f64| (x * 100.0).round() / 100.0;
        match NAMES[*kind] {
            "cpu" => {
                *at = (*at + 1.5 * random.normal()).clamp(0.0, 100.0);
                return two_decimals(*at);
            }
            "walk" => {
                *at = (*at + 0.25 * random.normal()).clamp(0.0, 100.0);
                return two_decimals(*at);
            }
            "load" => {
                *at = (*at + 0.08 * random.normal() + 0.02 * (1.0 - *at)).max(0.0);
                return two_decimals(*at);
            }
            "memory" if random.even() < 0.6 => *at += (8.0 * random.normal()).round(),
            "bytes" => *at += (*rate * 10.0 * (1.0 + 0.02 * random.normal())).round().max(0.0),
            "bytes-even" => *at += (*rate + 64.0 * random.normal()).round().max(0.0),
            "operations" => *at += (50.0 + 7.0 * random.normal()).round().max(0.0),
            "heap" => {
                *at += (3e6 + 4e5 * random.normal()).max(0.0);
                if *at > 5e8 {
                    *at = 2e8 + 1e6 * random.even();
                }
                return (*at / 8.0).floor() * 8.0;
            }
            "gc-count" => *at += f64::from(u8::from(*taken % 47 == 0)),
            "threads" if random.even() < 0.1 => *at += if random.even() < 0.5 { 1.0 } else { -1.0 },
            "uptime" => *at += 10.0,
            _ => {}
        }
        *at
    }
}
