//! The cells of a row, each read as what it has to be.

use std::str::FromStr;

use gristmill_common::{BlobRef, Body, State, Timestamp, job::Priority};
use rusqlite::{Row, types::ValueRef};
use serde::de::DeserializeOwned;

use super::{fault::Fault, row::state_code};

/// The cells of a row, from left to right.
pub(super) struct Cells<'r> {
    row: &'r Row<'r>,
    next: usize,
}

impl<'r> Cells<'r> {
    /// From the first cell on.
    pub(super) fn of(row: &'r Row<'r>) -> Self {
        Self { row, next: 0 }
    }

    fn take(&mut self) -> Result<ValueRef<'r>, Fault> {
        let value = self.row.get_ref(self.next)?;
        self.next += 1;
        Ok(value)
    }

    /// Passes over a cell, whatever it holds.
    pub(super) fn skip(&mut self) {
        self.next += 1;
    }

    fn wrong(&self, what: impl std::fmt::Display) -> Fault {
        let column = self.row.as_ref().column_name(self.next - 1).unwrap_or("?");
        Fault::Corrupt(format!("column {column}: {what}"))
    }

    pub(super) fn int(&mut self) -> Result<i64, Fault> {
        self.take()?.as_i64().map_err(|error| self.wrong(error))
    }

    pub(super) fn int_or_none(&mut self) -> Result<Option<i64>, Fault> {
        self.take()?.as_i64_or_null().map_err(|error| self.wrong(error))
    }

    /// A number that is never negative.
    pub(super) fn unsigned<N: TryFrom<i64>>(&mut self) -> Result<N, Fault> {
        let number = self.int()?;
        N::try_from(number).map_err(|_| self.wrong(format_args!("{number} is out of range")))
    }

    pub(super) fn text(&mut self) -> Result<&'r str, Fault> {
        self.take()?.as_str().map_err(|error| self.wrong(error))
    }

    pub(super) fn text_or_none(&mut self) -> Result<Option<&'r str>, Fault> {
        self.take()?.as_str_or_null().map_err(|error| self.wrong(error))
    }

    pub(super) fn bytes_or_none(&mut self) -> Result<Option<&'r [u8]>, Fault> {
        self.take()?.as_blob_or_null().map_err(|error| self.wrong(error))
    }

    /// So many bytes.
    pub(super) fn array_or_none<const N: usize>(&mut self) -> Result<Option<[u8; N]>, Fault> {
        let bytes = self.bytes_or_none()?;
        bytes.map(<[u8; N]>::try_from).transpose().map_err(|error| self.wrong(error))
    }

    /// The 16 bytes of an id.
    pub(super) fn id(&mut self) -> Result<[u8; 16], Fault> {
        self.array_or_none()?.ok_or_else(|| self.wrong("is NULL"))
    }

    pub(super) fn parsed<T: FromStr<Err: std::fmt::Display>>(&mut self) -> Result<T, Fault> {
        self.text()?.parse().map_err(|error| self.wrong(error))
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, Fault> {
        self.int().map(Timestamp::from_millis)
    }

    pub(super) fn time_or_none(&mut self) -> Result<Option<Timestamp>, Fault> {
        Ok(self.int_or_none()?.map(Timestamp::from_millis))
    }

    pub(super) fn state(&mut self) -> Result<State, Fault> {
        let code = self.int()?;
        let state = State::ALL.into_iter().find(|state| state_code(*state) == code);
        state.ok_or_else(|| self.wrong(format_args!("{code} is no state")))
    }

    pub(super) fn priority(&mut self) -> Result<Priority, Fault> {
        let band: usize = self.unsigned()?;
        Priority::ALL.get(band).copied().ok_or_else(|| self.wrong(format_args!("{band} is no band")))
    }

    pub(super) fn json<T: DeserializeOwned>(&mut self) -> Result<T, Fault> {
        serde_json::from_str(self.text()?).map_err(|error| self.wrong(error))
    }

    pub(super) fn json_or_none<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Fault> {
        self.text_or_none()?.map(serde_json::from_str).transpose().map_err(|error| self.wrong(error))
    }

    /// A body's `bytes`, `blob` and `length`; `None` if they are missing.
    pub(super) fn body(&mut self) -> Result<Option<Body>, Fault> {
        let bytes = self.bytes_or_none()?.map(bytes::Bytes::copy_from_slice);
        let blob = self.array_or_none()?;
        let length = self.int_or_none()?;
        Ok(match (bytes, blob, length) {
            (Some(bytes), _, _) => Some(Body::Inline(bytes)),
            (None, Some(id), Some(length)) => {
                let id = gristmill_common::BlobId::from_bytes(id);
                Some(Body::Blob(BlobRef { id, bytes: u64::try_from(length).unwrap_or(0) }))
            }
            _ => None,
        })
    }
}
