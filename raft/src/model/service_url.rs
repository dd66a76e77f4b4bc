//! Where a JMX agent listens, in the form that its documentation gives.

/// A JMX service URL of the RMI connector: `service:jmx:rmi:///jndi/rmi://HOST:PORT/NAME`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceUrl {
    /// The registry's host, an IPv6 address without its brackets.
    pub host: String,
    /// The registry's port; 1099 where the URL names none.
    pub port: u16,
    /// The name that the agent has in the registry.
    pub name: String,
}

impl ServiceUrl {
    /// The form, for those who wrote another one.
    pub const FORM: &'static str = "service:jmx:rmi:///jndi/rmi://HOST:PORT/jmxrmi";

    /// Reads a URL, with `host` in place of `{host}`. None for other forms. A host in the part before `/jndi/` counts for nothing, as in Java:
    /// where the agent itself listens is what its registry says.
    pub fn parse(url: &str, host: &str) -> Option<ServiceUrl> {
        let rest = url.trim().strip_prefix("service:jmx:rmi://")?;
        let (_, registry) = rest.split_once("/jndi/rmi://")?;
        let (authority, name) = registry.split_once('/')?;
        let (of, port) = match authority.rsplit_once(':') {
            Some((of, port)) if !port.ends_with(']') => (of, port.parse().ok().filter(|port| *port != 0)?),
            _ => (authority, 1099),
        };
        let of = of.replace("{host}", host);
        let of = of.trim_start_matches('[').trim_end_matches(']');
        if of.is_empty() || name.is_empty() || of.contains(['/', ' ', '@', '{', '}']) {
            return None;
        }
        Some(ServiceUrl { host: of.to_string(), port, name: name.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_java_writes_them() {
        for (url, host, port, name) in [
            ("service:jmx:rmi:///jndi/rmi://10.0.0.1:9010/jmxrmi", "10.0.0.1", 9010, "jmxrmi"),
            ("service:jmx:rmi://x:9/jndi/rmi://web01/server", "web01", 1099, "server"),
            ("service:jmx:rmi:///jndi/rmi://{host}:9010/jmxrmi", "node.example.org", 9010, "jmxrmi"),
            ("service:jmx:rmi:///jndi/rmi://[fd00::1]:9010/jmxrmi", "fd00::1", 9010, "jmxrmi"),
        ] {
            let wanted = ServiceUrl { host: host.to_string(), port, name: name.to_string() };
            assert_eq!(ServiceUrl::parse(url, "node.example.org"), Some(wanted), "{url}");
        }
        for other in [
            "http://h:1/jolokia",
            "service:jmx:jmxmp://h:1",
            "service:jmx:rmi:///stub/rO0AB",
            "service:jmx:rmi:///jndi/rmi://h:0/jmxrmi",
            "service:jmx:rmi:///jndi/rmi://:1/jmxrmi",
            "service:jmx:rmi:///jndi/rmi://h:1/",
            "service:jmx:rmi:///jndi/rmi://h:1",
        ] {
            assert_eq!(ServiceUrl::parse(other, "h"), None, "{other}");
        }
    }
}
