//! The pool against real sshd servers.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::exec::Request;
use super::super::testing::{
    KeyKind, OWN_PASSWORD, Setup, Sshd, eventually, pool, quick_options, with_own_user,
};
use super::super::{
    Auth, CheckLimits, Connection, Endpoint, Error, HostKeyError, HostKeyPolicy, HostKeys,
    HostKeysUnavailable, MemoryHostKeys, Options, Pool, Urgency,
};

async fn connect(pool: &Pool, endpoint: Endpoint) -> Result<Connection, Error> {
    pool.connection("n", &Arc::new(endpoint), Urgency::Now).await
}

async fn echo(connection: &Connection) -> Result<String, Error> {
    let output =
        connection.run_check("echo $SSH_CONNECTION", Duration::from_secs(10), CheckLimits::default()).await?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_serves_many_callers() {
    let sshd = Sshd::start(Setup::default());
    let (pool, _) = pool(quick_options());
    let endpoint = Arc::new(sshd.endpoint());
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let (pool, endpoint) = (pool.clone(), endpoint.clone());
            tokio::spawn(async move {
                let connection = pool.connection("n", &endpoint, Urgency::Background).await.unwrap();
                echo(&connection).await.unwrap()
            })
        })
        .collect();
    let mut seen = Vec::new();
    for caller in callers {
        seen.push(caller.await.unwrap());
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "all on one connection: {seen:?}");
    assert_eq!(pool.open_connections(), 1);
    pool.shutdown().await;
    assert_eq!(connect(&pool, sshd.endpoint()).await.unwrap_err(), Error::ShutDown);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_key_logs_in() {
    let sshd = Sshd::start(Setup::default());
    let keys = [
        ("ed25519", sshd.add_client_key(KeyKind::Ed25519, ""), None),
        ("ecdsa", sshd.add_client_key(KeyKind::Ecdsa, ""), None),
        ("rsa", sshd.add_client_key(KeyKind::Rsa, ""), None),
        ("encrypted ed25519", sshd.add_client_key(KeyKind::Ed25519, "open sesame"), Some("open sesame")),
        ("encrypted rsa", sshd.add_client_key(KeyKind::Rsa, "open sesame"), Some("open sesame")),
    ];
    for (name, key, passphrase) in keys {
        let (pool, _) = pool(quick_options());
        let auth = Auth { key_pem: Some(key.into()), passphrase: passphrase.map(Into::into), password: None };
        let connection = connect(&pool, Endpoint { auth, ..sshd.endpoint() }).await;
        assert!(connection.is_ok(), "{name}: {connection:?}");
        pool.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_can_not_be_used_are_explained() {
    let sshd = Sshd::start(Setup::default());
    let encrypted = sshd.add_client_key(KeyKind::Ed25519, "open sesame");
    let strange = Some(Sshd::start(Setup::default()).add_client_key(KeyKind::Ed25519, "").into());
    let table = [
        ("no passphrase", Some(encrypted.as_str().into()), None, "encrypted and no passphrase"),
        ("wrong passphrase", Some(encrypted.as_str().into()), Some("x".into()), "passphrase"),
        ("no key file", Some("not a key".into()), None, "can't be read"),
        ("unknown key", strange, None, "key refused; the server accepts: publickey"),
        ("nothing at all", None, None, "neither a key nor a password"),
    ];
    for (name, key_pem, passphrase, expected) in table {
        let (pool, _) = pool(quick_options());
        let auth = Auth { key_pem, passphrase, password: None };
        let error = connect(&pool, Endpoint { auth, ..sshd.endpoint() }).await.unwrap_err();
        assert!(matches!(error, Error::AuthFailed { .. } | Error::Invalid(_)), "{name}: {error:?}");
        assert!(error.to_string().contains(expected), "{name}: {error}");
        assert!(!error.to_string().contains("sesame"), "{name}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn first_key_is_recorded_and_a_changed_one_refused() {
    for (kind, changed) in
        [(KeyKind::Rsa, KeyKind::Rsa), (KeyKind::Ecdsa, KeyKind::Ecdsa), (KeyKind::Ed25519, KeyKind::Rsa)]
    {
        let mut sshd = Sshd::start(Setup { host_keys: vec![kind], ..Setup::default() });
        let (pool, record) = pool(quick_options());
        connect(&pool, sshd.endpoint()).await.unwrap();
        let known = sshd.host_key(kind);
        assert_eq!(record.all(&sshd.host, sshd.port), std::slice::from_ref(&known));

        sshd.set_host_keys(vec![changed]);
        sshd.new_host_keys();
        sshd.restart();
        pool.close("n");
        let error = connect(&pool, sshd.endpoint()).await.unwrap_err();
        let Error::HostKey(HostKeyError::Changed { host, recorded, offered }) = &error else {
            panic!("{error:?}")
        };
        assert_eq!(*host, format!("{}:{}", sshd.host, sshd.port));
        assert!(
            recorded[0].contains("SHA256:") && offered.contains("SHA256:") && recorded[0] != *offered,
            "{error}"
        );
        assert_eq!(record.all(&sshd.host, sshd.port), [known], "the record is untouched");

        // The way out that the message names.
        record.set(&sshd.host, sshd.port, Vec::new());
        connect(&pool, sshd.endpoint()).await.unwrap();
        pool.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_with_several_keys_is_asked_for_the_known_one() {
    let sshd = Sshd::start(Setup {
        host_keys: vec![KeyKind::Ed25519, KeyKind::Ecdsa, KeyKind::Rsa],
        ..Setup::default()
    });
    for kind in [KeyKind::Rsa, KeyKind::Ecdsa, KeyKind::Ed25519] {
        let (pool, record) = pool(quick_options());
        record.set(&sshd.host, sshd.port, vec![sshd.host_key(kind)]);
        let strict = Endpoint { host_key: HostKeyPolicy::Strict, ..sshd.endpoint() };
        connect(&pool, strict).await.unwrap();
        let pinned =
            Endpoint { host_key: HostKeyPolicy::Pinned(vec![sshd.host_key(kind)]), ..sshd.endpoint() };
        connect(&pool, pinned).await.unwrap();
        pool.shutdown().await;
    }
    let (pool, _) = pool(quick_options());
    let strict = Endpoint { host_key: HostKeyPolicy::Strict, ..sshd.endpoint() };
    let error = connect(&pool, strict).await.unwrap_err();
    assert!(matches!(error, Error::HostKey(HostKeyError::Unknown { .. })), "{error:?}");
    let other = Sshd::start(Setup::default()).host_key(KeyKind::Ed25519);
    let pinned = Endpoint { host_key: HostKeyPolicy::Pinned(vec![other]), ..sshd.endpoint() };
    let error = connect(&pool, pinned).await.unwrap_err();
    assert!(matches!(error, Error::HostKey(HostKeyError::NotPinned { .. })), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn jump_hosts_are_gone_through_and_their_keys_checked() {
    let bastion = Sshd::start(Setup::default());
    let inner = Sshd::start(Setup::default());
    let third = Sshd::start(Setup { host_keys: vec![KeyKind::Ecdsa], ..Setup::default() });
    let (pool, record) = pool(quick_options());
    let through_one = Endpoint { jump: Some(Arc::new(bastion.endpoint())), ..inner.endpoint() };
    let through_two = Endpoint { jump: Some(Arc::new(through_one.clone())), ..third.endpoint() };

    let connection = pool.connection("inner", &Arc::new(through_one), Urgency::Now).await.unwrap();
    assert!(echo(&connection).await.unwrap().contains(&format!(" {} {}", inner.host, inner.port)));
    let connection = pool.connection("third", &Arc::new(through_two), Urgency::Now).await.unwrap();
    assert!(echo(&connection).await.unwrap().contains(&format!(" {} {}", third.host, third.port)));
    for sshd in [&bastion, &inner, &third] {
        assert_eq!(record.all(&sshd.host, sshd.port).len(), 1);
    }
    // The bastion's one connection serves both.
    assert_eq!(bastion.log().matches("Accepted publickey").count(), 1);

    // A jump host with a changed key is refused, and so is what lies behind it.
    record.set(&bastion.host, bastion.port, vec![inner.host_key(KeyKind::Ed25519)]);
    let (pool2, _) = (Pool::new(quick_options(), record.clone()), ());
    let behind = Endpoint { jump: Some(Arc::new(bastion.endpoint())), ..inner.endpoint() };
    let error = connect(&pool2, behind).await.unwrap_err();
    assert!(
        matches!(&error, Error::HostKey(HostKeyError::Changed { host, .. }) if host.ends_with(&bastion.port.to_string())),
        "{error:?}"
    );

    // And one that can't reach the node says so.
    let nowhere = Endpoint { port: 1, jump: Some(Arc::new(bastion.endpoint())), ..inner.endpoint() };
    record.set(&bastion.host, bastion.port, Vec::new());
    let error = pool.connection("x", &Arc::new(nowhere), Urgency::Now).await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { .. }), "{error:?}");
    pool.shutdown().await;
    pool2.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_connection_is_reported_at_once_and_redialled() {
    let sshd = Sshd::start(Setup::default());
    let (pool, _) = pool(quick_options());
    let connection = connect(&pool, sshd.endpoint()).await.unwrap();
    let before = echo(&connection).await.unwrap();
    let running = connection.exec(Request::new("sleep 60")).await.unwrap();
    let check = tokio::spawn({
        let connection = connection.clone();
        async move { connection.run_check("sleep 60", Duration::from_secs(60), CheckLimits::default()).await }
    });
    eventually("both run", Duration::from_secs(5), || sshd.processes().len() >= 7).await;

    let started = Instant::now();
    sshd.kill_connections();
    let (ran, checked) = (running.wait().await, check.await.unwrap());
    assert!(matches!(ran, Err(Error::ConnectionLost { .. })), "{ran:?}");
    assert!(matches!(checked, Err(Error::ConnectionLost { .. })), "{checked:?}");
    assert!(started.elapsed() < Duration::from_secs(3));
    assert!(!connection.is_open());

    let again = connect(&pool, sshd.endpoint()).await.unwrap();
    assert_ne!(echo(&again).await.unwrap(), before);
    pool.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_node_costs_its_time_limits_and_is_found_out() {
    let sshd = Sshd::start(Setup::default());
    let options =
        Options { keepalive_interval: Duration::from_millis(300), keepalive_max: 3, ..quick_options() };
    let (pool, _) = pool(options);
    let connection = connect(&pool, sshd.endpoint()).await.unwrap();
    echo(&connection).await.unwrap();
    // Much stdin fills every buffer on the way: the library's session is stuck in a write then.
    let request = Request { stdin: vec![0; 30_000_000].into(), ..Request::new("sleep 1000") };
    let running = connection.exec(request).await.unwrap();

    sshd.freeze();
    let started = Instant::now();
    let result = connection.run_check("echo 1", Duration::from_millis(300), CheckLimits::default()).await;
    assert!(started.elapsed() < Duration::from_secs(1), "a check takes no longer than its time: {result:?}");
    connection.close();
    let result = running.wait().await;
    assert!(matches!(result, Err(Error::ConnectionLost { .. })), "{result:?}");
    assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());

    let error = connect(&pool, sshd.endpoint()).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. } | Error::Unreachable { .. }), "{error:?}");
    sshd.thaw();
    let connection = connect(&pool, sshd.endpoint()).await.unwrap();
    echo(&connection).await.unwrap();
    pool.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_node_is_given_up_by_keepalive() {
    let sshd = Sshd::start(Setup::default());
    let options =
        Options { keepalive_interval: Duration::from_millis(200), keepalive_max: 2, ..quick_options() };
    let (pool, _) = pool(options);
    let connection = connect(&pool, sshd.endpoint()).await.unwrap();
    let running = connection.exec(Request::new("sleep 1000")).await.unwrap();
    sshd.freeze();
    let error = tokio::time::timeout(Duration::from_secs(5), running.wait()).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("stopped answering"), "{error}");
    sshd.thaw();
    pool.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_node_backs_off_unless_somebody_waits() {
    let mut sshd = Sshd::start(Setup::default());
    let endpoint = Arc::new(sshd.endpoint());
    sshd.stop();
    let options = Options {
        backoff_min: Duration::from_secs(30),
        backoff_max: Duration::from_secs(30),
        ..quick_options()
    };
    let (pool, _) = pool(options);
    let error = pool.connection("n", &endpoint, Urgency::Background).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    sshd.restart();
    assert_eq!(pool.connection("n", &endpoint, Urgency::Background).await.unwrap_err(), error, "put off");
    pool.connection("n", &endpoint, Urgency::Now).await.unwrap();
    pool.connection("n", &endpoint, Urgency::Background).await.unwrap();
    pool.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_endpoint_is_dialled_anew() {
    let (first, second) = (Sshd::start(Setup::default()), Sshd::start(Setup::default()));
    let (pool, _) = pool(quick_options());
    let old = connect(&pool, first.endpoint()).await.unwrap();
    let same = connect(&pool, first.endpoint()).await.unwrap();
    assert_eq!(echo(&old).await.unwrap(), echo(&same).await.unwrap());
    let new = connect(&pool, second.endpoint()).await.unwrap();
    assert!(echo(&new).await.unwrap().contains(&second.port.to_string()));
    eventually("the old one is closed", Duration::from_secs(5), || !old.is_open()).await;
    pool.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_closed_and_busy_ones_not() {
    let (idle, busy) = (Sshd::start(Setup::default()), Sshd::start(Setup::default()));
    let options = Options { idle_close: Duration::from_millis(500), ..quick_options() };
    let (pool, _) = pool(options);
    let maintaining = tokio::spawn({
        let pool = pool.clone();
        async move { pool.maintain().await }
    });
    let idle_endpoint = Arc::new(idle.endpoint());
    echo(&pool.connection("idle", &idle_endpoint, Urgency::Now).await.unwrap()).await.unwrap();
    let held = pool.connection("busy", &Arc::new(busy.endpoint()), Urgency::Now).await.unwrap();
    assert_eq!(pool.open_connections(), 2);
    eventually("the idle one is closed", Duration::from_secs(5), || pool.open_connections() == 1).await;
    assert!(held.is_open());
    eventually("sshd knows", Duration::from_secs(5), || idle.connection_processes().is_empty()).await;
    pool.shutdown().await;
    maintaining.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_leaves_nothing_at_the_server() {
    let sshd = Sshd::start(Setup::default());
    let (pool, _) = pool(quick_options());
    let connection = connect(&pool, sshd.endpoint()).await.unwrap();
    echo(&connection).await.unwrap();
    assert!(!sshd.connection_processes().is_empty());
    pool.shutdown().await;
    eventually("the session has ended", Duration::from_secs(5), || sshd.processes().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ssh_is_an_error_in_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        // One that says nothing, one that talks nonsense, one that hangs up.
        let (_silent, _) = listener.accept().await.unwrap();
        let (mut web, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut web, b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        drop(web);
        let (gone, _) = listener.accept().await.unwrap();
        drop(gone);
        std::future::pending::<()>().await;
    });
    let (pool, _) = pool(Options { login_timeout: Duration::from_millis(500), ..quick_options() });
    let sshd = Sshd::start(Setup::default());
    for name in ["silent", "web", "gone"] {
        let endpoint = Endpoint { host: "127.0.0.1".into(), port, ..sshd.endpoint() };
        let error = pool.connection(name, &Arc::new(endpoint), Urgency::Now).await.unwrap_err();
        assert!(
            matches!(error, Error::Timeout { .. } | Error::Unreachable { .. } | Error::Protocol { .. }),
            "{name}: {error:?}"
        );
    }
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_up_on_some_is_tried_again() {
    let sshd = Sshd::start(Setup::default());
    let (host, port) = (sshd.host.clone(), sshd.port);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let door = listener.local_addr().unwrap().port();
    // As sshd does while too many log in.
    let serving = tokio::spawn(async move {
        for _ in 0..2 {
            drop(listener.accept().await.unwrap());
        }
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = tokio::net::TcpStream::connect((host, port)).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
    let (pool, _) = pool(quick_options());
    let endpoint = Endpoint { host: "127.0.0.1".into(), port: door, ..sshd.endpoint() };
    echo(&connect(&pool, endpoint).await.unwrap()).await.unwrap();
    pool.shutdown().await;
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_peers_that_see_a_host_first_agree_on_its_key() {
    let sshd = Sshd::start(Setup { host_keys: vec![KeyKind::Ed25519, KeyKind::Ecdsa], ..Setup::default() });
    let (first, record) = pool(quick_options());
    let second = Pool::new(quick_options(), record.clone());
    let (one, two) = tokio::join!(connect(&first, sshd.endpoint()), connect(&second, sshd.endpoint()));
    one.unwrap();
    two.unwrap();
    assert_eq!(record.all(&sshd.host, sshd.port).len(), 1);
    first.shutdown().await;
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_log_in_and_wrong_ones_do_not() {
    let config = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
    let table: [(&str, Vec<String>); 2] = [
        ("password", config(&["PasswordAuthentication yes"])),
        ("keyboard-interactive", config(&["UsePAM yes", "KbdInteractiveAuthentication yes"])),
    ];
    for (name, config) in table {
        let Some((sshd, user)) = with_own_user(Setup { config, ..Setup::default() }, "ALL=(ALL) ALL") else {
            return;
        };
        for (password, good) in [(OWN_PASSWORD, true), ("wrong", false)] {
            let (pool, _) = pool(quick_options());
            let auth = Auth { password: Some(password.into()), ..Auth::default() };
            let result = connect(&pool, Endpoint { user: user.name.clone(), auth, ..sshd.endpoint() }).await;
            match result {
                Ok(_) => assert!(good, "{name}"),
                Err(Error::AuthFailed { detail, .. }) => {
                    assert!(!good && detail.contains(name), "{name}: {detail}")
                }
                Err(other) => panic!("{name}: {other}"),
            }
            pool.shutdown().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_nodes_on_one_server_are_dialled_few_at_a_time() {
    // More than five at once are dropped.
    let sshd = Sshd::start(Setup { config: vec!["MaxStartups 5:100:5".into()], ..Setup::default() });
    let (pool, _) = pool(quick_options());
    let endpoint = Arc::new(sshd.endpoint());
    let dials: Vec<_> = (0..30)
        .map(|nr| {
            let (pool, endpoint) = (pool.clone(), endpoint.clone());
            tokio::spawn(async move { pool.connection(&format!("n{nr}"), &endpoint, Urgency::Now).await })
        })
        .collect();
    for dial in dials {
        dial.await.unwrap().unwrap();
    }
    assert_eq!(pool.open_connections(), 30);
    pool.shutdown().await;
}

/// A record that somebody else is always faster to write to, or that is not there.
struct Contested(Option<String>);

#[async_trait::async_trait]
impl HostKeys for Contested {
    async fn recorded(&self, _: &str, _: u16) -> Result<Vec<String>, HostKeysUnavailable> {
        Ok(Vec::new())
    }

    async fn record_first(&self, _: &str, _: u16, _: &str) -> Result<Vec<String>, HostKeysUnavailable> {
        match &self.0 {
            Some(key) => Ok(vec![key.clone()]),
            None => Err(HostKeysUnavailable("no leader is known".into())),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_loses_the_race_for_the_record_must_match_the_winner() {
    let (sshd, other) = (Sshd::start(Setup::default()), Sshd::start(Setup::default()));
    let connect_with = |record: Contested| {
        let endpoint = sshd.endpoint();
        async move { connect(&Pool::new(quick_options(), Arc::new(record)), endpoint).await }
    };
    connect_with(Contested(Some(sshd.host_key(KeyKind::Ed25519)))).await.unwrap();
    let error = connect_with(Contested(Some(other.host_key(KeyKind::Ed25519)))).await.unwrap_err();
    assert!(matches!(error, Error::HostKey(HostKeyError::Changed { .. })), "{error:?}");
    let error = connect_with(Contested(None)).await.unwrap_err();
    assert!(error.to_string().contains("no leader is known"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_jump_hosts_are_refused() {
    let pool = Pool::new(quick_options(), Arc::new(MemoryHostKeys::default()));
    let leaf = Endpoint {
        host: "127.0.0.1".into(),
        port: 1,
        user: "u".into(),
        auth: Auth::default(),
        host_key: HostKeyPolicy::Strict,
        jump: None,
    };
    let mut endpoint = leaf.clone();
    for _ in 0..20 {
        endpoint = Endpoint { jump: Some(Arc::new(endpoint)), ..leaf.clone() };
    }
    assert!(matches!(connect(&pool, endpoint).await, Err(Error::Invalid(_))));
}
