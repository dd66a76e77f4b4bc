//! From an action to what is sent to the node. Values are resolved here, at the moment of use.

use bytes::Bytes;
use rscaler_raft::handle::Handle;
use rscaler_raft::model::{CommandAction, Name};

use crate::inventory::{self, TargetError, Targets, ValueError};
use crate::ssh::exec::{Request, Sudo};

/// Why no request could be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    /// A value is missing.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The sudo password is missing.
    #[error(transparent)]
    Target(#[from] TargetError),
}

/// The request for `action` on `node`, without times and marker.
pub(super) fn request(
    handle: &Handle,
    targets: &Targets,
    node: &Name,
    action: &CommandAction,
) -> Result<Request, ResolveError> {
    let mut request = Request::new(inventory::text(handle, &action.script)?);
    for arg in &action.args {
        request.args.push(inventory::text(handle, arg)?);
    }
    for (name, value) in &action.env {
        request.env.push((name.clone(), inventory::text(handle, value)?));
    }
    if let Some(stdin) = &action.stdin {
        request.stdin = Bytes::from(inventory::bytes(handle, stdin)?);
    }
    if action.sudo {
        request.sudo = Some(Sudo { password: targets.sudo_password(node)? });
    }
    Ok(request)
}
