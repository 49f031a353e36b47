//! The layers that settings come from: the defaults, a file, the environment, the command line.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs, mem,
    path::{Path, PathBuf},
};

use config::{Config, ConfigError, File, FileFormat, Source, Value, ValueKind};

use super::{Origin, Problem, Settings, SettingsError, check};

/// The commented defaults.
pub const DEFAULTS: &str = include_str!("../../../../config/default.toml");

const PREFIX: &str = "GRISTMILL_";

/// Variables with the prefix that are not settings: the command line's client reads this one.
const NOT_SETTINGS: [&str; 1] = ["GRISTMILL_SERVER"];

/// Which program reads the settings: a few defaults depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `gristmill serve`: everything in one process.
    Embedded,
    /// `gristmill-api`.
    Api,
    /// `gristmill-worker`.
    Worker,
    /// `gristmill-scheduler`.
    Scheduler,
}

/// Where to read settings from. Later layers win: defaults, file, environment, options.
#[derive(Debug, Clone)]
pub struct Sources {
    program: Program,
    file: Option<PathBuf>,
    variables: Vec<(OsString, OsString)>,
    options: Vec<(&'static str, String)>,
}

impl Sources {
    /// The defaults of this program, and nothing else yet.
    #[must_use]
    pub fn new(program: Program) -> Self {
        Self { program, file: None, variables: Vec::new(), options: Vec::new() }
    }

    /// Reads this file, if there is one.
    #[must_use]
    pub fn file(mut self, path: Option<PathBuf>) -> Self {
        self.file = path;
        self
    }

    /// Reads the environment of the process.
    #[must_use]
    pub fn process_environment(self) -> Self {
        self.environment(env::vars_os())
    }

    /// Reads these variables.
    #[must_use]
    pub fn environment<K: Into<OsString>, V: Into<OsString>>(
        mut self,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.variables.extend(variables.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Sets a key, whatever the other layers say.
    #[must_use]
    pub fn option(mut self, key: &'static str, value: Option<String>) -> Self {
        self.options.extend(value.map(|value| (key, value)));
        self
    }

    /// Reads, merges and checks.
    ///
    /// # Errors
    /// A file that cannot be read or is not TOML; else every problem there is, at once: unknown keys and
    /// variables, values of the wrong kind, values out of bounds.
    pub fn load(self) -> Result<Settings, SettingsError> {
        let mut layers = Layers::of(self.program)?;
        if let Some(path) = &self.file {
            layers.add_file(path)?;
        }
        for (name, value) in self.variables {
            layers.add_variable(name, value);
        }
        for (key, value) in self.options {
            layers.add_text(key, &value, Origin::Option);
        }
        layers.settle()
    }
}

/// A value, and who set it.
struct Entry {
    value: Value,
    origin: Origin,
}

struct Layers {
    defaults: BTreeMap<String, Value>,
    entries: BTreeMap<String, Entry>,
    problems: Vec<Problem>,
}

impl Layers {
    fn of(program: Program) -> Result<Self, SettingsError> {
        let wrong = |error: ConfigError| SettingsError::Defaults(error.to_string());
        let mut defaults = BTreeMap::new();
        flatten("", parse(DEFAULTS).map_err(wrong)?, &mut defaults);
        // A section whose keys are all commented out is no key itself.
        defaults.retain(|_, value| !matches!(value.kind, ValueKind::Table(_)));
        defaults.insert("handlers.test_types".to_owned(), Value::new(None, program == Program::Embedded));
        if matches!(program, Program::Worker | Program::Scheduler) {
            defaults.insert("http.listen".to_owned(), Value::new(None, "127.0.0.1:0"));
        }
        let entry =
            |(key, value): (&String, &Value)| (key.clone(), Entry { value: value.clone(), origin: Origin::Default });
        let entries = defaults.iter().map(entry).collect();
        Ok(Self { defaults, entries, problems: Vec::new() })
    }

    fn add_file(&mut self, path: &Path) -> Result<(), SettingsError> {
        let text =
            fs::read_to_string(path).map_err(|source| SettingsError::Unreadable { path: path.to_owned(), source })?;
        let table = parse(&text).map_err(|error| SettingsError::malformed(path, &error.to_string()))?;
        let mut values = BTreeMap::new();
        flatten("", table, &mut values);
        for (key, value) in values {
            let origin = Origin::File(path.to_owned());
            match self.defaults.get(&key) {
                None if self.is_section(&key) => {
                    if !matches!(&value.kind, ValueKind::Table(_)) {
                        self.refuse(&key, "is a section, not a value", origin);
                    }
                }
                None => self.refuse(&key, "is not a setting", origin),
                Some(default) => match misfit(default, &value) {
                    Some(message) => self.refuse(&key, message, origin),
                    None => self.set(&key, value, origin),
                },
            }
        }
        Ok(())
    }

    fn add_variable(&mut self, name: OsString, value: OsString) {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { return };
        let origin = Origin::Variable(name.to_owned());
        if NOT_SETTINGS.contains(&name) || is_service_link(name, &value.to_string_lossy()) {
            return;
        }
        let key = name[PREFIX.len()..].to_lowercase().replace("__", ".");
        match value.to_str() {
            None => self.refuse(&key, "is not UTF-8", origin),
            Some("") => {}
            Some(text) => self.add_text(&key, text, origin),
        }
    }

    /// Sets a key from text, read as what the default is.
    fn add_text(&mut self, key: &str, text: &str, origin: Origin) {
        let Some(default) = self.defaults.get(key) else {
            return self.refuse(key, "is not a setting", origin);
        };
        let kind = match &default.kind {
            ValueKind::Boolean(_) => text.parse().ok().map(ValueKind::Boolean),
            ValueKind::I64(_) => text.replace('_', "").parse().ok().map(ValueKind::I64),
            ValueKind::Array(_) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Some(ValueKind::Array(items.map(|item| Value::new(None, item)).collect()))
            }
            _ => Some(ValueKind::String(text.to_owned())),
        };
        let value = Value::new(None, kind.unwrap_or(ValueKind::Nil));
        match misfit(default, &value) {
            Some(message) => self.refuse(key, message, origin),
            None => self.set(key, value, origin),
        }
    }

    /// Makes the typed tree. A value that its type refuses is told, and the default taken in its place, so
    /// that what else is wrong is told at once.
    fn settle(mut self) -> Result<Settings, SettingsError> {
        let settings = loop {
            match self.deserialize() {
                Ok(settings) => break settings,
                Err(error) => {
                    let (path, message) = explain(error);
                    let key = path.split('[').next().unwrap_or_default();
                    let entry = self.entries.get_mut(key).filter(|entry| entry.origin != Origin::Default);
                    let Some((entry, default)) = entry.zip(self.defaults.get(key)) else {
                        return Err(SettingsError::Defaults(format!("{path}: {message}")));
                    };
                    let default = Entry { value: default.clone(), origin: Origin::Default };
                    let origin = mem::replace(entry, default).origin;
                    self.problems.push(Problem { key: path, message, origin });
                }
            }
        };
        for (key, message) in check::problems(&settings) {
            let origin = self.entries.get(key).map_or(Origin::Default, |entry| entry.origin.clone());
            self.refuse(key, message, origin);
        }
        if self.problems.is_empty() { Ok(settings) } else { Err(SettingsError::Invalid(self.problems)) }
    }

    fn deserialize(&self) -> Result<Settings, ConfigError> {
        let mut builder = Config::builder();
        for (key, entry) in &self.entries {
            builder = builder.set_override(key, entry.value.clone())?;
        }
        builder.build()?.try_deserialize()
    }

    fn is_section(&self, key: &str) -> bool {
        self.defaults.keys().any(|known| known.split_once('.').is_some_and(|(section, _)| section == key))
    }

    fn set(&mut self, key: &str, value: Value, origin: Origin) {
        self.entries.insert(key.to_owned(), Entry { value, origin });
    }

    fn refuse(&mut self, key: &str, message: impl Into<String>, origin: Origin) {
        self.problems.push(Problem { key: key.to_owned(), message: message.into(), origin });
    }
}

fn parse(text: &str) -> Result<config::Map<String, Value>, ConfigError> {
    Config::builder().add_source(File::from_str(text, FileFormat::Toml)).build()?.collect()
}

/// Joins the keys of tables by dots. An empty table stays, so that an unknown section is seen.
fn flatten(prefix: &str, table: config::Map<String, Value>, into: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value.kind {
            ValueKind::Table(inner) if !inner.is_empty() => flatten(&key, inner, into),
            _ => {
                into.insert(key, value);
            }
        }
    }
}

/// Why the value is not of the default's kind. The `config` crate would turn `true` into 1 and 1.5 into 2.
fn misfit(default: &Value, value: &Value) -> Option<&'static str> {
    match (&default.kind, &value.kind) {
        (ValueKind::Boolean(_), ValueKind::Boolean(_)) | (ValueKind::String(_), ValueKind::String(_)) => None,
        (ValueKind::I64(_), ValueKind::I64(number)) if *number >= 0 => None,
        (ValueKind::Array(_), ValueKind::Array(items))
            if items.iter().all(|item| matches!(item.kind, ValueKind::String(_))) =>
        {
            None
        }
        (ValueKind::Boolean(_), _) => Some("must be `true` or `false`"),
        (ValueKind::I64(_), _) => Some("must be a whole number, 0 or more"),
        (ValueKind::Array(_), _) => Some("must be a list of names"),
        _ => Some("must be text"),
    }
}

/// The key and the plain words of an error.
fn explain(error: ConfigError) -> (String, String) {
    match error {
        ConfigError::At { error, key, .. } => (key.unwrap_or_default(), explain(*error).1),
        ConfigError::Type { expected, key, .. } => (key.unwrap_or_default(), format!("must be {expected}")),
        ConfigError::Message(message) => (String::new(), message),
        other => (String::new(), other.to_string()),
    }
}

/// Whether Kubernetes or Docker made the variable for a service named `gristmill…`, such as
/// `GRISTMILL_API_SERVICE_HOST` or `GRISTMILL_PORT_8080_TCP`. They are in every container and no typo.
fn is_service_link(name: &str, value: &str) -> bool {
    let after = |marker: &str| name.split_once(marker).map(|(_, rest)| rest);
    let is_service = name.ends_with("_SERVICE_HOST")
        || after("_SERVICE_PORT").is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
    let is_port = after("_PORT").is_some_and(|rest| {
        let number = rest.strip_prefix('_').is_some_and(|rest| rest.starts_with(|digit: char| digit.is_ascii_digit()));
        number || (rest.is_empty() && value.contains("://"))
    });
    !name.contains("__") && (is_service || is_port)
}
