use std::io;

use crate::codec;

/// What went wrong on disk. All but [`Error::Refused`] end the peer: see [`super::Fatal`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("{doing}")]
    Io {
        /// What was tried, with the path.
        doing: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// What is on disk is not what was written.
    #[error("{what} is damaged: {detail}")]
    Corrupt {
        /// What was read.
        what: String,
        /// How it is wrong.
        detail: String,
    },
    /// Bytes that do not decode, or are of a newer version.
    #[error(transparent)]
    Codec(#[from] codec::Error),
    /// It would be wrong to go on; the message says what to do.
    #[error("{0}")]
    Refused(String),
    /// The store has stopped, for a reason that was reported already.
    #[error("the store has stopped")]
    Closed,
}

impl Error {
    /// An [`Error::Io`].
    pub fn io(doing: impl Into<String>, source: io::Error) -> Error {
        Error::Io { doing: doing.into(), source }
    }

    /// An [`Error::Corrupt`].
    pub fn corrupt(what: impl Into<String>, detail: impl Into<String>) -> Error {
        Error::Corrupt { what: what.into(), detail: detail.into() }
    }

    /// The error and its causes in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(inner) = cause {
            text.push_str(": ");
            text.push_str(&inner.to_string());
            cause = inner.source();
        }
        text
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match &error {
            Error::Io { source, .. } => source.kind(),
            Error::Corrupt { .. } | Error::Codec(_) => io::ErrorKind::InvalidData,
            Error::Refused(_) => io::ErrorKind::PermissionDenied,
            Error::Closed => io::ErrorKind::BrokenPipe,
        };
        io::Error::new(kind, error.chain())
    }
}
