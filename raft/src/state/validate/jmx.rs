//! What is said about JVMs.

use super::super::config::Draft;
use super::Check;
use crate::model::{
    JmxCounter, JmxInvokeAction, JvmProfile, JvmTransport, Kind, Name, Node, ServiceUrl, Spec, Value,
};

const JVMS_MAX: usize = 64;
const TEXT_BYTES_MAX: usize = 1024;
const ARGS_MAX: usize = 32;

/// The JVMs of a node. References are checked here and not with all others: what was refused before there were
/// profiles is refused with the same words in the same place.
pub(super) fn check_jvms(check: &mut Check<'_, '_>, node: &Node) {
    for (position, jvm) in node.jvms.iter().enumerate() {
        let pointer = format!("/jvms/{position}");
        if check.draft.get(Kind::JvmProfile, jvm).is_none() {
            check.fail(&pointer, format!("there is no jvm-profile `{jvm}`"));
        } else if is_out_of_reach(check.draft, node, jvm) {
            check.fail(&pointer, "it is reached over SSH, and the node has no ssh_profile");
        }
        check.need(!node.jvms[..position].contains(jvm), &pointer, "it is named already");
    }
    check.need(node.jvms.len() <= JVMS_MAX, "/jvms", "at most 64");
}

pub(super) fn check_profile(check: &mut Check<'_, '_>, profile: &JvmProfile) {
    match (&profile.url, profile.port) {
        (Some(_), Some(_)) => check.fail("/url", "give `port` or `url`, not both"),
        (None, None) => check.fail("/port", "give `port`, or `url` where there is more to say"),
        (None, Some(port)) => check.need(port != 0, "/port", "1 to 65535"),
        (Some(url), None) => {
            let fits = url.len() <= TEXT_BYTES_MAX
                && match profile.transport {
                    JvmTransport::Jolokia => is_http(url, profile.tls),
                    JvmTransport::Rmi | JvmTransport::RmiOverSsh => ServiceUrl::parse(url, "host").is_some(),
                };
            if !fits {
                let form = match (profile.transport, profile.tls) {
                    (JvmTransport::Jolokia, false) => "http://HOST:PORT/jolokia",
                    (JvmTransport::Jolokia, true) => "https://HOST:PORT/jolokia",
                    _ => ServiceUrl::FORM,
                };
                check.fail(
                    "/url",
                    format!("write it as `{form}`; `{{host}}` stands for the node's host name"),
                );
            }
        }
    }
    check.need(
        profile.user.is_some() == profile.password.is_some(),
        if profile.user.is_some() { "/password" } else { "/user" },
        "user and password go together",
    );
    let fits = |user: &String| !user.is_empty() && user.len() <= 255 && !user.contains(char::is_control);
    check.need(profile.user.as_ref().is_none_or(fits), "/user", "a name of 1 to 255 bytes");
    check.need(
        profile.tls || profile.trust_store.is_none(),
        "/trust_store",
        "certificates are looked at only with `tls: true`",
    );
    check.need(
        profile.trust_store.is_some() || profile.trust_store_password.is_none(),
        "/trust_store_password",
        "there is no trust_store that it opens",
    );
}

fn is_http(url: &str, tls: bool) -> bool {
    let scheme = if tls { "https://" } else { "http://" };
    url.strip_prefix(scheme).is_some_and(|rest| {
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        !host.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic()) && !host.contains('@')
    })
}

/// Whether it is an object name, as far as can be told without Java: a domain, and keys with values.
fn is_object_name(name: &str) -> bool {
    let Some((domain, keys)) = name.split_once(':') else { return false };
    let plain = |text: &str| !text.contains(char::is_control);
    let named = |pair: &str| pair == "*" || pair.split_once('=').is_some_and(|(key, _)| !key.is_empty());
    plain(domain) && plain(keys) && !keys.is_empty() && keys.split(',').next().is_some_and(named)
}

fn check_name(check: &mut Check<'_, '_>, mbean: &str) {
    check.need(
        mbean.len() <= TEXT_BYTES_MAX && is_object_name(mbean),
        "/mbean",
        "an object name such as `java.lang:type=Memory`",
    );
}

fn check_text(check: &mut Check<'_, '_>, pointer: &str, text: &str) {
    let fits = !text.is_empty() && text.len() <= TEXT_BYTES_MAX && !text.contains(char::is_control);
    check.need(fits, pointer, "1 to 1024 bytes without control characters");
}

pub(super) fn check_counter(check: &mut Check<'_, '_>, counter: &JmxCounter) {
    check_name(check, &counter.mbean);
    check_text(check, "/attribute", &counter.attribute);
    if let Some(key) = &counter.key {
        check_text(check, "/key", key);
    }
}

pub(super) fn check_action(check: &mut Check<'_, '_>, action: &JmxInvokeAction) {
    check_name(check, &action.mbean);
    check.need(
        !action.mbean.contains(['*', '?']) || action.mbean.contains('"'),
        "/mbean",
        "one MBean: an operation is not invoked on a pattern",
    );
    check_text(check, "/operation", &action.operation);
    check.need(action.args.len() <= ARGS_MAX, "/args", "at most 32 arguments");
    for (position, value) in action.args.iter().enumerate() {
        if let Value::Inline(text) = value {
            check.need(text.len() <= 64 << 10, &format!("/args/{position}"), "a value takes at most 64 KiB");
        }
    }
    check.need(
        action.signature.is_empty() || action.signature.len() == action.args.len(),
        "/signature",
        "one type for each argument, or none at all",
    );
    for (position, of) in action.signature.iter().enumerate() {
        check_text(check, &format!("/signature/{position}"), of);
    }
}

/// What a profile refers to.
pub(super) fn profile_values(profile: &JvmProfile) -> [(&'static str, Option<&Value>); 3] {
    [
        ("/password", profile.password.as_ref()),
        ("/trust_store", profile.trust_store.as_ref()),
        ("/trust_store_password", profile.trust_store_password.as_ref()),
    ]
}

/// The first JVM of a node that is reached over SSH, where the node has no way to be logged in to.
pub(in crate::state) fn jvm_out_of_reach<'n>(draft: &Draft<'_>, node: &'n Node) -> Option<&'n Name> {
    node.jvms.iter().find(|jvm| is_out_of_reach(draft, node, jvm))
}

fn is_out_of_reach(draft: &Draft<'_>, node: &Node, jvm: &Name) -> bool {
    node.ssh_profile.is_none()
        && matches!(draft.spec(Kind::JvmProfile, jvm), Some(Spec::JvmProfile(profile)) if profile.transport == JvmTransport::RmiOverSsh)
}
