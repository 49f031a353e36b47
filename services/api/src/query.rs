//! Parameters of a query: each known by name, sent once, and never empty.

use std::{fmt::Display, str::FromStr};

use actix_web::{HttpRequest, web};
use gristmill_common::http::FieldError;

use crate::{
    json::shorten,
    problem::{ApiError, Code},
};

/// The parameters of a query, taken one by one; what is left at the end is unknown.
pub(crate) struct Parameters {
    left: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl Parameters {
    pub(crate) fn of(request: &HttpRequest) -> Self {
        Self::parse(request.query_string())
    }

    fn parse(query: &str) -> Self {
        if query.is_empty() {
            return Self { left: Vec::new(), errors: Vec::new() };
        }
        match web::Query::<Vec<(String, String)>>::from_query(query) {
            Ok(pairs) => Self { left: pairs.into_inner(), errors: Vec::new() },
            Err(_) => Self { left: Vec::new(), errors: vec![FieldError::new("?", "cannot be read")] },
        }
    }

    /// A parameter that is sent at most once.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        let mut values = self.all(name);
        if values.len() > 1 {
            self.refuse(name, "must be sent once");
            return None;
        }
        values.pop()
    }

    /// Every value of a parameter that may be sent more than once.
    pub(crate) fn all(&mut self, name: &str) -> Vec<String> {
        let values: Vec<String> = self.left.extract_if(.., |(key, _)| key == name).map(|(_, value)| value).collect();
        if values.iter().any(String::is_empty) {
            self.refuse(name, "must not be empty");
            return Vec::new();
        }
        values
    }

    /// A parameter that is read as something.
    pub(crate) fn read<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        self.read_with(name, |text| text.parse().map_err(|error: T::Err| error.to_string()))
    }

    /// A parameter that is read in a way of its own.
    pub(crate) fn read_with<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(name)?;
        match read(&text) {
            Ok(value) => Some(value),
            Err(detail) => {
                self.refuse(name, detail);
                None
            }
        }
    }

    /// A number of milliseconds or of times.
    pub(crate) fn number<T: FromStr>(&mut self, name: &str) -> Option<T> {
        self.read_with(name, |text| text.parse().map_err(|_| "must be a whole number, 0 or more".to_owned()))
    }

    pub(crate) fn refuse(&mut self, name: &str, detail: impl Into<String>) {
        self.errors.push(FieldError::new(format!("?{name}"), detail));
    }

    /// Refuses what is unknown, and whatever was wrong before.
    pub(crate) fn finish(mut self) -> Result<(), ApiError> {
        let mut unknown: Vec<&str> = self.left.iter().map(|(name, _)| name.as_str()).collect();
        unknown.sort_unstable();
        unknown.dedup();
        for name in unknown {
            let pointer = format!("?{}", shorten(name));
            self.errors.push(FieldError::new(pointer, "is not a parameter that is known here"));
        }
        if self.errors.is_empty() { Ok(()) } else { Err(ApiError::with_errors(Code::InvalidQuery, self.errors)) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn errors(query: &str) -> Vec<String> {
        let mut parameters = Parameters::parse(query);
        parameters.text("a");
        parameters.number::<u32>("n");
        match parameters.finish() {
            Ok(()) => Vec::new(),
            Err(error) => error.problem("").errors.into_iter().map(|error| error.pointer).collect(),
        }
    }

    #[test]
    fn what_is_unknown_empty_repeated_or_no_number_is_refused_by_name() {
        assert_eq!(errors("a=x%20y&n=1"), [""; 0]);
        assert_eq!(errors(""), [""; 0]);
        assert_eq!(errors("a=&n=x"), ["?a", "?n"]);
        assert_eq!(errors("a=1&a=2"), ["?a"]);
        assert_eq!(errors("a"), ["?a"]);
        assert_eq!(errors("n=-1"), ["?n"]);
        assert_eq!(errors("n=4294967296"), ["?n"]);
        assert_eq!(errors("b=1&b=2&A=1"), ["?A", "?b"]);
    }

    #[test]
    fn a_value_is_decoded() {
        assert_eq!(Parameters::parse("a=x%20y+z%26").text("a").as_deref(), Some("x y z&"));
    }

    proptest! {
        #[test]
        fn any_query_is_taken_or_refused(query: String) {
            let mut parameters = Parameters::parse(&query);
            parameters.text("a");
            let _ = parameters.finish();
        }
    }
}
