//! Strict JSON: whole, no deeper than 128 levels, and no key twice in one object, at any depth.
//!
//! One pass over the text finds what is wrong with it as JSON, without building anything; a second one reads it
//! as what it should be, and leaves payloads as they were sent.

use std::{borrow::Cow, collections::HashSet, fmt};

use gristmill_common::http::FieldError;
use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_path_to_error::{Path, Segment};

/// The most levels of arrays and objects within each other.
pub(crate) const MAX_DEPTH: usize = 128;
/// Objects with more keys than this look them up by hash.
const FEW_KEYS: usize = 24;
/// The longest piece of somebody's input repeated in a message, in bytes.
const LONGEST_QUOTE: usize = 100;

/// Why a body is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BadJson {
    /// It is no JSON, or says something twice.
    Malformed(String),
    /// It is deeper than [`MAX_DEPTH`].
    TooDeep,
    /// It is JSON, but not of the right form.
    Wrong(Vec<FieldError>),
}

/// Reads a body that must be an object.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, BadJson> {
    let text = std::str::from_utf8(body)
        .map_err(|error| BadJson::Malformed(format!("not UTF-8 at byte {}", error.valid_up_to())))?;
    check(text)?;
    read_checked(text).map_err(|error| BadJson::Wrong(vec![error]))
}

/// Reads an object that has been checked as JSON, perhaps as a part of something larger.
pub(crate) fn read_checked<T: DeserializeOwned>(text: &str) -> Result<T, FieldError> {
    // The derived code would take an array for an object with its fields in order.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(FieldError::new("", "must be an object"));
    }
    // Keeping track of the path costs: only a text that is wrong is read with it.
    serde_json::from_str(text).map_err(|_| locate::<T>(text))
}

/// Whether a text is strict JSON.
pub(crate) fn check(text: &str) -> Result<(), BadJson> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.disable_recursion_limit();
    let mut walk = Walk::default();
    match (Value { walk: &mut walk, depth: 0 }).deserialize(&mut deserializer).and_then(|()| deserializer.end()) {
        Ok(()) => Ok(()),
        Err(_) if walk.too_deep => Err(BadJson::TooDeep),
        Err(error) => Err(BadJson::Malformed(error.to_string())),
    }
}

/// What a pass over the text keeps in mind.
#[derive(Default)]
struct Walk<'de> {
    /// The keys of the objects that are open, the outermost first.
    keys: Vec<Cow<'de, str>>,
    too_deep: bool,
}

struct Value<'w, 'de> {
    walk: &'w mut Walk<'de>,
    /// How many arrays and objects are around it.
    depth: usize,
}

impl Value<'_, '_> {
    fn enter<E: serde::de::Error>(&mut self) -> Result<usize, E> {
        if self.depth == MAX_DEPTH {
            self.walk.too_deep = true;
            return Err(E::custom("too deep"));
        }
        Ok(self.depth + 1)
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_, 'de> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let depth = self.enter()?;
        while items.next_element_seed(Value { walk: self.walk, depth })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        let depth = self.enter()?;
        let first = self.walk.keys.len();
        let mut many: Option<HashSet<Cow<'de, str>>> = None;
        while let Some(key) = entries.next_key_seed(Key)? {
            let is_new = match &mut many {
                Some(keys) => keys.insert(key.clone()),
                None => !self.walk.keys[first..].contains(&key),
            };
            if !is_new {
                return Err(A::Error::custom(format_args!("duplicate key \"{}\"", shorten(&key).escape_debug())));
            }
            if many.is_none() {
                self.walk.keys.push(key);
                if self.walk.keys.len() - first > FEW_KEYS {
                    many = Some(self.walk.keys.drain(first..).collect());
                }
            }
            entries.next_value_seed(Value { walk: self.walk, depth })?;
        }
        self.walk.keys.truncate(first);
        Ok(())
    }
}

/// A key: borrowed from the text unless it holds escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

/// Reads again, to find out where and why it fails.
fn locate<T: DeserializeOwned>(text: &str) -> FieldError {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Err(error) => explain(pointer(error.path()), &error.inner().to_string()),
        Ok(_) => FieldError::new("", "is not understood"),
    }
}

/// Says it in our words; `serde` names the field at fault in its message when it is missing or unknown.
fn explain(pointer: String, message: &str) -> FieldError {
    let message = message.rsplit_once(" at line ").map_or(message, |(message, _)| message);
    let quoted = |start: &str| message.strip_prefix(start)?.split('`').next();
    if let Some(field) = quoted("missing field `") {
        return FieldError::new(format!("{pointer}/{}", escape(field)), "is missing");
    }
    if let Some(field) = quoted("unknown field `") {
        let field = format!("/{}", escape(field));
        let pointer = if pointer.ends_with(&field) { pointer } else { pointer + &field };
        return FieldError::new(shorten(&pointer), "is not a field that is known here");
    }
    FieldError::new(pointer, shorten(message))
}

/// A JSON Pointer (RFC 6901).
fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            // What stands in an enum stands under its variant's name: `{"for_ms": 5}`.
            Segment::Map { key } | Segment::Enum { variant: key } => pointer.push_str(&format!("/{}", escape(key))),
            Segment::Unknown => {}
        }
    }
    pointer
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// At most [`LONGEST_QUOTE`] bytes of a text.
pub(crate) fn shorten(text: &str) -> Cow<'_, str> {
    if text.len() <= LONGEST_QUOTE {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{}…", &text[..text.floor_char_boundary(LONGEST_QUOTE)]))
}

#[cfg(test)]
mod tests;
