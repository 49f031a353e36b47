//! What can be wrong with the settings, told so that it can be put right.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// The settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file could not be read.
    #[error("cannot read the settings file {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not TOML. The text at fault is left out: it may hold a password.
    #[error("the settings file {} is not TOML: {reason}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where, and why.
        reason: String,
    },
    /// All that is wrong, at once.
    #[error("the settings cannot be used:{}", listed(.0))]
    Invalid(Vec<Problem>),
    /// The defaults inside the program cannot be used: its own fault.
    #[error("the built-in defaults cannot be used: {0}")]
    Defaults(String),
}

/// What is wrong with one key. Values are never shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, such as `worker.lease_ms`.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
    /// Who set it.
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A settings file.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// An option of the command line.
    Option,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)?;
        match &self.origin {
            Origin::Default => Ok(()),
            Origin::File(path) => write!(f, " (set in {})", path.display()),
            Origin::Variable(name) => write!(f, " (set by {name})"),
            Origin::Option => f.write_str(" (set on the command line)"),
        }
    }
}

impl SettingsError {
    /// The file at this path is not TOML. `reason` is the parser's drawing, of which only the words are kept.
    pub(super) fn malformed(path: &Path, reason: &str) -> Self {
        let words = reason.lines().filter(|line| !is_drawing(line)).map(str::trim).filter(|line| !line.is_empty());
        Self::Malformed { path: path.to_owned(), reason: words.collect::<Vec<_>>().join(": ") }
    }
}

/// Whether the line quotes the file: `12 | url = "..."`, or points at it.
fn is_drawing(line: &str) -> bool {
    line.split_once('|').is_some_and(|(margin, _)| margin.bytes().all(|byte| byte == b' ' || byte.is_ascii_digit()))
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}
