//! How the program ends.

use std::process::ExitCode;

/// The exit codes that scripts may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Yes, or done.
    Yes = 0,
    /// No: the image is denied, the document has mistakes, the signature is not genuine.
    No = 1,
    /// It could not be told or done, or the command was misused.
    Unknown = 2,
    /// The attestation was pushed and its contract blocks it, or it lacks what the contract requires and was not sent.
    Blocked = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
