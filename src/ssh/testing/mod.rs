//! What tests of this package need to work with real sshd servers.

mod sshd;

use std::sync::Arc;
use std::time::Duration;

pub use sshd::{
    KeyKind, OWN_PASSWORD, Setup, Sshd, eventually, is_alive, odd_seconds, send_signal, sleepers, user_name,
    with_own_user,
};

use super::{Auth, Endpoint, HostKeyPolicy, MemoryHostKeys, Options, Pool};

impl Sshd {
    /// How to log in there as who runs the tests.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            host: self.host.clone(),
            port: self.port,
            user: user_name(),
            auth: Auth { key_pem: Some(self.client_key().into()), ..Auth::default() },
            host_key: HostKeyPolicy::AcceptNew,
            jump: None,
        }
    }
}

/// Options with short waits.
pub fn quick_options() -> Options {
    Options {
        connect_timeout: Duration::from_secs(3),
        login_timeout: Duration::from_secs(10),
        backoff_min: Duration::from_millis(50),
        backoff_max: Duration::from_millis(500),
        ..Options::default()
    }
}

/// A pool with these options and a record of host keys in memory.
pub fn pool(options: Options) -> (Pool, Arc<MemoryHostKeys>) {
    let keys = Arc::new(MemoryHostKeys::default());
    (Pool::new(options, keys.clone()), keys)
}
