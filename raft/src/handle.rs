//! The only door of this package: propose commands, read state, watch changes, manage peers.
