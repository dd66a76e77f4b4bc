#![allow(clippy::unwrap_used)]
use std::ffi::OsString;

use super::*;

fn environment(pairs: &[(&str, &str)]) -> impl Iterator<Item = (OsString, OsString)> {
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.into(), value.into())).collect();
    pairs.into_iter()
}

fn mistakes(layers: Layers) -> Vec<String> {
    layers.read().unwrap_err().0
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let mut layers = Layers::default();
    layers.add_yaml("data_dir: /file\napi: 127.0.0.1:1\ngrace: 10s\ntasks_max: 3\n", "x.yaml");
    layers.add_environment(environment(&[
        ("RSCALER_SERVER_DATA_DIR", "/env"),
        ("RSCALER_SERVER_API", "127.0.0.1:2"),
        ("RSCALER_API", "http://a.client.s"),
        ("RSCALER_SERVER_CONFIG", "x.yaml"),
    ]));
    let flags = Flags { data_dir: Some("/flag".to_string()), ..Flags::default() };
    layers.add_flags(&flags);
    let config = layers.read().unwrap();
    assert_eq!(config.data_dir, PathBuf::from("/flag"));
    assert_eq!(config.api, "127.0.0.1:2".parse().unwrap());
    assert_eq!((config.grace, config.tasks_max), (Duration::from_secs(10), 3));
    assert_eq!(config.start, Start::Open);
    assert_eq!(config.renew_every, Duration::from_millis(400));
}

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    let mut layers = Layers::default();
    layers.add_yaml("datadir: /x\ngrace: soon\nlog: {a: b}\n", "peer.yaml");
    layers.add_environment(environment(&[("RSCALER_SERVER_TASKS_MAX", "0")]));
    let flags = Flags {
        peer: Some("7701".to_string()),
        api_cert: Some("c.pem".to_string()),
        join: Some("10.0.0.1:7701".to_string()),
        renew_every: Some("5s".to_string()),
        ..Flags::default()
    };
    layers.add_flags(&flags);
    let told = mistakes(layers);
    let expected = [
        "peer.yaml: `datadir` is no setting; do you mean `data_dir`?",
        "peer.yaml: `log` has to be one value",
        "data_dir is missing: say where this peer keeps its data (--data-dir)",
        "--api-cert: a certificate needs its key (--api-key)",
        "--peer: `7701` is not host:port, such as 10.0.0.1:7700",
        "join needs join_token: `rscaler peers token` on the control plane prints one",
        "--renew-every: `5s` is not between 50ms and 1s",
        "RSCALER_SERVER_TASKS_MAX: `0` is not a number from 1 to 10000",
        "`grace` in peer.yaml: `soon` is no duration: a number with ms, s, m or h, such as 90s",
    ];
    assert_eq!(told, expected);
    assert!(Mistakes(told).to_string().starts_with("9 settings are wrong:\n  - peer.yaml"));
}

#[test]
fn ways_to_start_exclude_each_other() {
    let with = |flags: Flags| {
        let mut layers = Layers::default();
        layers.add_flags(&Flags { data_dir: Some("/d".to_string()), ..flags });
        layers.read()
    };
    let join = Some("h:1".to_string());
    let token = Some("t".to_string());
    let bootstrap = Flags { bootstrap: true, ..Flags::default() };
    assert_eq!(with(bootstrap.clone()).unwrap().start, Start::Bootstrap);
    let joining = Flags { join: join.clone(), join_token: token.clone(), ..Flags::default() };
    assert!(matches!(with(joining).unwrap().start, Start::Join { .. }));
    assert!(with(Flags { join: join.clone(), ..bootstrap }).is_err());
    assert!(with(Flags { join, ..Flags::default() }).is_err());
    assert!(with(Flags { join_token: token, ..Flags::default() }).is_err());
}

#[test]
fn the_join_token_is_never_printed() {
    let flags = Flags {
        data_dir: Some("/d".to_string()),
        join: Some("h:1".to_string()),
        join_token: Some("hush-hush".to_string()),
        ..Flags::default()
    };
    let mut layers = Layers::default();
    layers.add_flags(&flags);
    let config = layers.read().unwrap();
    for shown in [format!("{flags:?}"), format!("{config:?}")] {
        assert!(shown.contains("***") && !shown.contains("hush"), "{shown}");
    }
}

#[test]
fn a_file_that_is_not_there_is_a_mistake_and_an_empty_one_is_not() {
    let mut layers = Layers::default();
    layers.add_file(std::path::Path::new("/nonexistent/rscaler.yaml"));
    assert!(mistakes(layers)[0].starts_with("/nonexistent/rscaler.yaml: can't be read"));
    let mut layers = Layers::default();
    layers.add_yaml("", "empty.yaml");
    layers.add_yaml("data_dir: /d\nname: Not A Name\n", "x.yaml");
    assert_eq!(mistakes(layers).len(), 1);
}

#[test]
fn every_flag_is_a_setting() {
    let all = Flags {
        config: None,
        data_dir: Some(String::new()),
        name: Some(String::new()),
        api: Some(String::new()),
        api_url: Some(String::new()),
        api_cert: Some(String::new()),
        api_key: Some(String::new()),
        peer: Some(String::new()),
        peer_advertise: Some(String::new()),
        bootstrap: true,
        join: Some(String::new()),
        join_token: Some(String::new()),
        log_format: Some(String::new()),
        log: Some(String::new()),
        tasks_max: Some(String::new()),
        grace: Some(String::new()),
        java_home: Some(String::new()),
        renew_every: Some(String::new()),
    };
    for name in all.settings().keys() {
        assert!(SETTINGS.iter().any(|(known, _)| known == name), "{name}");
    }
}

#[test]
fn a_join_token_may_begin_with_a_hyphen() {
    use clap::{Args, FromArgMatches};
    let command = Flags::augment_args(clap::Command::new("server"));
    let matches = command.try_get_matches_from(["server", "--join-token", "-x_y", "--join", "a:1"]).unwrap();
    let flags = Flags::from_arg_matches(&matches).unwrap();
    assert_eq!((flags.join_token.as_deref(), flags.join.as_deref()), (Some("-x_y"), Some("a:1")));
}
