//! What an object's fields may say, and what they refer to.

mod jmx;

use std::time::Duration;

pub(super) use self::jmx::jvm_out_of_reach;
use super::config::Draft;
use super::runs::STEPS_MAX;
use crate::command::FieldError;
use crate::model::{
    Action, ActionKind, Aggregate, ClusterSelector, Counter, CounterSource, File, HostKeyPolicy, Kind,
    MaintenanceWindow, Name, NoData, Node, Object, Parse, Per, Spec, SshProfile, Target, Trigger, Value,
    WindowScope,
};

const SCRIPT_BYTES_MAX: usize = 1 << 20;
const JUMPS_MAX: usize = 8;
const PAUSE_MAX: Duration = Duration::from_secs(12 * 3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Collects what is wrong with one document.
struct Check<'a, 'd> {
    draft: &'a Draft<'d>,
    document: u32,
    errors: &'a mut Vec<FieldError>,
}

impl Check<'_, '_> {
    fn fail(&mut self, pointer: &str, detail: impl Into<String>) {
        let document = self.document;
        self.errors.push(FieldError { document, pointer: pointer.to_string(), detail: detail.into() });
    }

    fn need(&mut self, holds: bool, pointer: &str, detail: &str) {
        if !holds {
            self.fail(pointer, detail);
        }
    }

    fn duration(&mut self, pointer: &str, value: Duration, least: Duration, most: Duration) {
        if value < least || value > most {
            self.fail(pointer, format!("{value:?} is out of bounds: {least:?} to {most:?}"));
        }
    }
}

/// Appends to `errors` what is wrong with `object`, as document number `document`.
pub(super) fn object(
    draft: &Draft<'_>,
    name: &Name,
    object: &Object,
    document: u32,
    errors: &mut Vec<FieldError>,
) {
    let mut check = Check { draft, document, errors };
    let meta = &object.meta;
    check.need(meta.description.len() <= 4096, "/description", "at most 4096 bytes");
    check.need(meta.labels.len() <= 64, "/labels", "at most 64 labels");
    for (key, value) in &meta.labels {
        if key.is_empty() || key.len() > 63 || value.len() > 255 {
            check.fail("/labels", format!("`{key}`: a key takes 1 to 63 bytes, a value up to 255"));
        }
    }
    for ((kind, referred), pointer) in references(&object.spec) {
        if kind == Kind::JvmProfile && matches!(object.spec, Spec::Node(_)) {
            continue;
        }
        if draft.get(kind, &referred).is_none() {
            check.fail(&pointer, format!("there is no {kind} `{referred}`"));
        }
    }
    match &object.spec {
        Spec::Node(node) => check_node(&mut check, name, node),
        Spec::SshProfile(profile) => check_profile(&mut check, name, profile),
        Spec::Counter(counter) => check_counter(&mut check, counter),
        Spec::Trigger(trigger) => check_trigger(&mut check, trigger),
        Spec::Action(action) => check_action(&mut check, action),
        Spec::File(file) => check.need(
            file.content.len() <= File::BYTES_MAX,
            "/content",
            "a file takes at most 8 MiB: put larger things where nodes can fetch them",
        ),
        Spec::MaintenanceWindow(window) => check_window(&mut check, window),
        Spec::JvmProfile(profile) => jmx::check_profile(&mut check, profile),
        Spec::Secret(secret) => {
            check.need(secret.sealed.ciphertext.len() <= 64 << 10, "/value", "a secret takes at most 64 KiB");
        }
        Spec::Cluster(_) | Spec::User(_) | Spec::Token(_) => {}
    }
}

fn check_node(check: &mut Check<'_, '_>, name: &Name, node: &Node) {
    let host = node.hostname.as_str();
    let fits = !host.is_empty()
        && host.len() <= 255
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:%[]".contains(&b));
    check.need(fits, "/hostname", "a host name or an IP address, such as `web01.example.org` or `10.0.0.11`");
    check.need(node.port != Some(0), "/port", "1 to 65535");
    jmx::check_jvms(check, node);
    if let Some(profile) = &node.ssh_profile
        && let Err(why) = follow_jumps(check.draft, Some(name), profile)
    {
        check.fail("/ssh_profile", why);
    }
}

fn check_profile(check: &mut Check<'_, '_>, name: &Name, profile: &SshProfile) {
    let user = profile.user.as_str();
    let fits = !user.is_empty() && user.len() <= 64 && user.bytes().all(|b| b.is_ascii_graphic());
    check.need(fits, "/user", "an account name of 1 to 64 characters without blanks");
    check.need(profile.port != 0, "/port", "1 to 65535");
    check.need(
        profile.key.is_some() || profile.password.is_some(),
        "/key",
        "give `key`, `password` or both: without them nobody can log in",
    );
    check.need(
        profile.key.is_some() || profile.passphrase.is_none(),
        "/passphrase",
        "a passphrase needs the key that it opens",
    );
    if let HostKeyPolicy::Pinned(keys) = &profile.host_key {
        check.need((1..=8).contains(&keys.len()), "/host_key/pinned", "1 to 8 keys");
        for key in keys {
            let mut words = key.split_whitespace();
            let right = words.next().is_some_and(|w| w.contains("ssh-") || w.starts_with("ecdsa-"))
                && words.next().is_some_and(|w| w.len() > 16);
            check.need(right, "/host_key/pinned", "a key as in a .pub file: `ssh-ed25519 AAAA...`");
        }
    }
    if profile.jump.is_some()
        && let Err(why) = follow_jumps(check.draft, None, name)
    {
        check.fail("/jump", why);
    }
}

/// Follows `jump` from a profile to the last; an error where it comes back or has no end.
fn follow_jumps(draft: &Draft<'_>, from: Option<&Name>, profile: &Name) -> Result<(), String> {
    let mut path: Vec<Name> = from.into_iter().cloned().collect();
    let mut profile = profile.clone();
    loop {
        let Some(Spec::SshProfile(found)) = draft.spec(Kind::SshProfile, &profile) else { return Ok(()) };
        let Some(jump) = found.jump.clone() else { return Ok(()) };
        if path.contains(&jump) {
            return Err(format!("its jumps come back to node `{jump}`"));
        }
        path.push(jump.clone());
        if path.len() > JUMPS_MAX {
            return Err(format!("more than {JUMPS_MAX} jumps"));
        }
        match draft.spec(Kind::Node, &jump) {
            Some(Spec::Node(node)) => match &node.ssh_profile {
                Some(next) => profile = next.clone(),
                None => return Err(format!("node `{jump}`, through which it jumps, has no ssh_profile")),
            },
            _ => return Ok(()),
        }
    }
}

fn check_counter(check: &mut Check<'_, '_>, counter: &Counter) {
    check.duration("/interval", counter.interval, Duration::from_secs(1), DAY);
    check.duration("/timeout", counter.timeout, Duration::from_millis(100), Duration::from_secs(600));
    check.need(counter.unit.len() <= 32, "/unit", "at most 32 bytes");
    check.need(counter.clusters.len() <= 1000, "/clusters", "at most 1000; `[\"*\"]` means all");
    if let CounterSource::Jmx(jmx) = &counter.source {
        jmx::check_counter(check, jmx);
    }
    if let CounterSource::Ssh(ssh) = &counter.source {
        check_script(check, "/script", &ssh.script);
        if let Parse::Regex(pattern) = &ssh.parse {
            match regex::RegexBuilder::new(pattern).size_limit(1 << 20).build() {
                Ok(regex) => check.need(
                    regex.capture_names().flatten().next().is_some(),
                    "/parse/regex",
                    "it needs a named group, such as `(?P<value>[0-9.]+)`",
                ),
                Err(error) => check.fail("/parse/regex", format!("not a regular expression: {error}")),
            }
        }
    }
}

fn check_script(check: &mut Check<'_, '_>, pointer: &str, script: &Value) {
    match script {
        Value::Inline(text) => {
            check.need(!text.trim().is_empty(), pointer, "a script that is not empty");
            check.need(text.len() <= SCRIPT_BYTES_MAX, pointer, "a script takes at most 1 MiB");
            check.need(!text.contains('\0'), pointer, "a script holds no NUL byte");
        }
        Value::Secret(_) => check.fail(pointer, "a script is text or a `{file: NAME}`, not a secret"),
        Value::File(_) => {}
    }
}

fn check_action(check: &mut Check<'_, '_>, action: &Action) {
    check.duration("/timeout", action.timeout, Duration::from_secs(1), DAY);
    check.need((1..=100).contains(&action.retry.attempts), "/retry/attempts", "1 to 100");
    check.duration("/retry/backoff", action.retry.backoff, Duration::ZERO, Duration::from_secs(3600));
    check.need(action.spread.max_failures_percent <= 100, "/max_failures", "a share from 0 to 100 percent");
    match &action.kind {
        ActionKind::Command(command) => {
            check_script(check, "/script", &command.script);
            check.need(command.args.len() <= 256, "/args", "at most 256 arguments");
            check.need(command.env.len() <= 256, "/env", "at most 256 variables");
            for name in command.env.keys() {
                let mut bytes = name.bytes();
                let right = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
                    && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
                    && name.len() <= 128;
                if !right {
                    check.fail(
                        "/env",
                        format!("`{}` is no name of a variable: letters, digits, `_`", name.escape_debug()),
                    );
                }
            }
            for value in command.args.iter().chain(command.env.values()) {
                if let Value::Inline(text) = value {
                    check.need(
                        text.len() <= 64 << 10,
                        "/args",
                        "a value takes at most 64 KiB; use `stdin` or a file",
                    );
                    check.need(!text.contains('\0'), "/args", "a value holds no NUL byte");
                }
            }
        }
        ActionKind::Pause(pause) => {
            check.duration("/for", pause.time, Duration::ZERO, PAUSE_MAX);
            check.need(pause.time < action.timeout, "/timeout", "longer than the pause");
        }
        ActionKind::JmxInvoke(invoke) => jmx::check_action(check, invoke),
    }
}

fn check_trigger(check: &mut Check<'_, '_>, trigger: &Trigger) {
    check.need((1..=16).contains(&trigger.conditions.len()), "/when", "1 to 16 conditions");
    check.need((1..=STEPS_MAX).contains(&trigger.steps.len()), "/steps", "1 to 64 steps");
    check.duration("/for", trigger.hold, Duration::ZERO, DAY * 7);
    check.duration("/cooldown", trigger.cooldown, Duration::ZERO, DAY * 30);
    if let NoData::FireAfter(after) = trigger.no_data {
        check.duration("/no_data/fire_after", after, Duration::from_secs(1), DAY * 7);
    }
    check.need(
        trigger.per == Per::Trigger || trigger.aggregate == Aggregate::Each,
        "/per",
        "one value over the cluster belongs to no node: `per: node` needs `aggregate: each`",
    );
    for (position, condition) in trigger.conditions.iter().enumerate() {
        let pointer = |field: &str| format!("/when/{position}/{field}");
        check.need(condition.threshold.is_finite(), &pointer("threshold"), "a finite number");
        check.need(condition.recover.is_none_or(f64::is_finite), &pointer("recover"), "a finite number");
        if let Some(recover) = condition.recover
            && recover != condition.threshold
            && condition.op.holds(recover, condition.threshold)
        {
            check.fail(
                &pointer("recover"),
                format!(
                    "`{} {}` holds at {recover} itself: it would recover and fire for ever",
                    condition.op.as_str(),
                    condition.threshold
                ),
            );
        }
        if check.draft.get(Kind::Counter, &condition.counter).is_some()
            && !is_collected(check.draft, &condition.counter, &trigger.cluster)
        {
            check.fail(
                &pointer("counter"),
                format!("counter `{}` is not collected on cluster `{}`", condition.counter, trigger.cluster),
            );
        }
    }
    for (position, step) in trigger.steps.iter().enumerate() {
        let pointer = format!("/steps/{position}/target");
        let over_cluster = trigger.aggregate != Aggregate::Each;
        if step.target == Target::FiringNode && over_cluster {
            check.fail(&pointer, "no node fires where `aggregate` is over the cluster");
        }
        if step.target == Target::Nowhere
            && let Some(Spec::Action(action)) = check.draft.spec(Kind::Action, &step.action)
        {
            check.need(
                !action.kind.needs_node(),
                &pointer,
                "a command needs a target: cluster, firing-node, last-node or a node",
            );
        }
    }
}

/// Whether a counter is collected on a cluster.
pub(super) fn is_collected(draft: &Draft<'_>, counter: &Name, cluster: &Name) -> bool {
    match draft.spec(Kind::Counter, counter) {
        Some(Spec::Counter(counter)) => counter.clusters.iter().any(|selector| selector.covers(cluster)),
        _ => false,
    }
}

fn check_window(check: &mut Check<'_, '_>, window: &MaintenanceWindow) {
    check.need(window.from < window.to, "/to", "it must be after `from`");
    check.need(window.reason.len() <= 1024, "/reason", "at most 1024 bytes");
}

/// What a content refers to, with the pointer of the field that does.
pub(super) fn references(spec: &Spec) -> Vec<((Kind, Name), String)> {
    let mut out = Vec::new();
    let mut refer = |kind: Kind, name: &Name, pointer: String| out.push(((kind, name.clone()), pointer));
    match spec {
        Spec::Node(node) => {
            refer(Kind::Cluster, &node.cluster, "/cluster".to_string());
            if let Some(profile) = &node.ssh_profile {
                refer(Kind::SshProfile, profile, "/ssh_profile".to_string());
            }
            for (position, jvm) in node.jvms.iter().enumerate() {
                refer(Kind::JvmProfile, jvm, format!("/jvms/{position}"));
            }
        }
        Spec::SshProfile(profile) => {
            let fields = [
                ("/key", &profile.key),
                ("/passphrase", &profile.passphrase),
                ("/password", &profile.password),
                ("/sudo_password", &profile.sudo_password),
            ];
            for (pointer, value) in fields {
                refer_value(&mut refer, value.as_ref(), pointer);
            }
            if let Some(jump) = &profile.jump {
                refer(Kind::Node, jump, "/jump".to_string());
            }
        }
        Spec::Counter(counter) => {
            for (position, selector) in counter.clusters.iter().enumerate() {
                if let ClusterSelector::Named(cluster) = selector {
                    refer(Kind::Cluster, cluster, format!("/clusters/{position}"));
                }
            }
            if let CounterSource::Ssh(ssh) = &counter.source {
                refer_value(&mut refer, Some(&ssh.script), "/script");
            }
        }
        Spec::Trigger(trigger) => {
            refer(Kind::Cluster, &trigger.cluster, "/cluster".to_string());
            for (position, condition) in trigger.conditions.iter().enumerate() {
                refer(Kind::Counter, &condition.counter, format!("/when/{position}/counter"));
            }
            for (position, step) in trigger.steps.iter().enumerate() {
                refer(Kind::Action, &step.action, format!("/steps/{position}/action"));
                if let Target::Named(node) = &step.target {
                    refer(Kind::Node, node, format!("/steps/{position}/target"));
                }
            }
        }
        Spec::Action(action) => match &action.kind {
            ActionKind::Command(command) => {
                refer_value(&mut refer, Some(&command.script), "/script");
                for (position, value) in command.args.iter().enumerate() {
                    refer_value(&mut refer, Some(value), &format!("/args/{position}"));
                }
                for (name, value) in &command.env {
                    refer_value(&mut refer, Some(value), &format!("/env/{name}"));
                }
                refer_value(&mut refer, command.stdin.as_ref(), "/stdin");
            }
            ActionKind::Pause(_) => {}
            ActionKind::JmxInvoke(invoke) => {
                if let Some(jvm) = &invoke.jvm {
                    refer(Kind::JvmProfile, jvm, "/jvm".to_string());
                }
                for (position, value) in invoke.args.iter().enumerate() {
                    refer_value(&mut refer, Some(value), &format!("/args/{position}"));
                }
            }
        },
        Spec::MaintenanceWindow(window) => match &window.scope {
            WindowScope::Cluster(cluster) => refer(Kind::Cluster, cluster, "/cluster".to_string()),
            WindowScope::Node(node) => refer(Kind::Node, node, "/node".to_string()),
        },
        Spec::JvmProfile(profile) => {
            for (pointer, value) in jmx::profile_values(profile) {
                refer_value(&mut refer, value, pointer);
            }
        }
        Spec::Cluster(_) | Spec::File(_) | Spec::Secret(_) | Spec::User(_) | Spec::Token(_) => {}
    }
    out
}

fn refer_value(refer: &mut impl FnMut(Kind, &Name, String), value: Option<&Value>, pointer: &str) {
    match value {
        Some(Value::Secret(name)) => refer(Kind::Secret, name, pointer.to_string()),
        Some(Value::File(name)) => refer(Kind::File, name, pointer.to_string()),
        Some(Value::Inline(_)) | None => {}
    }
}
