//! A document read as a job, and what becomes of one that cannot be read.

use std::str::FromStr;

use bytes::Bytes;
use gristmill_common::{
    BlobRef, Body, State, Timestamp,
    job::{Job, JobError, Priority},
};
use mongodb::bson::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};

use super::{
    document::job_key,
    fault::{Fault, wrong},
    history,
};
use crate::unreadable;

/// The version of a document with gates, and the newest that this build knows. One without gates has no version, as
/// before there were any.
pub(super) const WITH_GATES: i32 = 2;

/// A job as it was read, with what was read beside it.
pub(super) struct Record {
    pub(super) job: Job,
    /// Which bulk writes changed it last.
    pub(super) changed_by: Vec<i64>,
    pub(super) payload: Option<Body>,
    pub(super) text: Option<Body>,
    pub(super) result: Option<Body>,
}

/// The versions that this build may change; what has another is left to a newer build.
pub(super) fn known() -> RawDocumentBuf {
    let mut versions = RawArrayBuf::new();
    versions.push(RawBsonRef::Null);
    versions.push(WITH_GATES);
    rawdoc! { "$in": versions }
}

fn is_known(document: &RawDocument) -> Result<bool, Fault> {
    let Some(value) = document.get("v")? else { return Ok(true) };
    Ok(Cell { document, field: "v", value }.number::<i32>().is_ok_and(|version| version <= WITH_GATES))
}

/// Reads a job; one that a newer build has written is [`Fault::Newer`].
pub(super) fn decode(document: &RawDocument) -> Result<Record, Fault> {
    match is_known(document)? {
        true => read(document),
        false => Err(Fault::Newer(document.get_str("_id")?.to_owned())),
    }
}

/// Reads one of many jobs. One that cannot be read is left out, so that the others do not wait for it.
pub(super) fn decode_among(document: &RawDocument) -> Option<Record> {
    match decode(document) {
        Ok(record) => Some(record),
        // Newer builds see to it.
        Err(Fault::Newer(_)) => None,
        Err(fault) => {
            leave_out(document, &fault);
            None
        }
    }
}

/// Says of one of many jobs that it is left out, because it cannot be read.
pub(super) fn leave_out(document: &RawDocument, fault: &Fault) {
    let id = match document.get("_id") {
        Ok(Some(RawBsonRef::String(id))) => id.to_owned(),
        id => format!("{id:?}"),
    };
    unreadable::leave_out(&id, fault);
}

/// Reads a job, whoever has written it, as far as this build can.
pub(super) fn decode_any(document: &RawDocument) -> Result<Job, Fault> {
    match read(document) {
        Ok(record) => Ok(record.job),
        Err(_) if !is_known(document)? => Err(Fault::Newer(document.get_str("_id")?.to_owned())),
        Err(fault) => Err(fault),
    }
}

fn read(document: &RawDocument) -> Result<Record, Fault> {
    let id = document.get_str("_id")?;
    let key = job_key(id).ok_or_else(|| wrong(document, "_id", "is no key of a job"))?;
    let job_type = parsed(document, "type", document.get_str("type")?)?;
    let mut job = Job::accepted(key, job_type, Timestamp::from_millis(0));
    let mut record = Record { job: job.clone(), changed_by: Vec::new(), payload: None, text: None, result: None };
    let mut history = history::Parts::default();
    let mut seen = 0;
    for field in document.iter() {
        let (field, value) = field?;
        let field = field.as_str();
        let cell = Cell { document, field, value };
        match field {
            "queue" => (job.queue, seen) = (cell.parsed()?, seen + 1),
            "state" => (job.state, seen) = (cell.state()?, seen + 1),
            "wake_at" => (job.wake_at, seen) = (cell.time()?, seen + 1),
            "created_at" => (job.created_at, seen) = (cell.time()?, seen + 1),
            "version" => (job.version, seen) = (cell.number()?, seen + 1),
            "priority" => job.priority = cell.priority()?,
            "attempt" => job.attempt = cell.number()?,
            "max_attempts" => job.max_attempts = cell.number()?,
            "claims" => job.claims = cell.number()?,
            "rescues" => job.rescues = cell.number()?,
            "rings" => job.rings = cell.number()?,
            "cancel_requested" => job.cancel_requested = cell.flag()?,
            "backoff" => {
                job.backoff = serde_json::from_str(cell.text()?).map_err(|error| cell.wrong(error))?;
            }
            "timeout_ms" => job.timeout_ms = cell.number()?,
            "percent" => job.progress.percent = cell.number()?,
            "message" => job.progress.message = Some(cell.text()?.to_owned()),
            "lease" => job.lease = Some(cell.parsed()?),
            "worker" => job.worker = Some(cell.parsed()?),
            "settled_by" => job.settled_by = Some(cell.parsed()?),
            "trace" => job.trace = Some(cell.text()?.to_owned()),
            "deadline" | "deadline_was" => job.deadline = Some(cell.time()?),
            "run_at" => job.run_at = Some(cell.time()?),
            "started_at" => job.started_at = Some(cell.time()?),
            "finished_at" => job.finished_at = Some(cell.time()?),
            "dead" => {
                job.failed_at = Some(Timestamp::from_millis(cell.document()?.get_datetime("at")?.timestamp_millis()))
            }
            "error" => {
                let error = cell.document()?;
                job.error = Some(JobError {
                    code: error.get_str("code")?.to_owned(),
                    message: error.get_str("message")?.to_owned(),
                    attempt: Cell { document, field, value: present(error.get("attempt")?, document, field)? }
                        .number()?,
                });
            }
            "tags" => job.tags = cell.texts()?,
            "fingerprint" => {
                job.fingerprint = Some(cell.bytes()?.try_into().map_err(|error| cell.wrong(error))?);
            }
            "gates" => {
                job.gates = Some(serde_json::from_str(cell.text()?).map_err(|error| cell.wrong(error))?);
            }
            "first" => history.first = Some(history::read(cell.document()?)?.entry),
            "history" => {
                for entry in cell.array()? {
                    let entry = entry?.as_document().ok_or_else(|| cell.wrong("an entry is no document"))?;
                    history.rest.push(history::read(entry)?);
                }
            }
            "total" => history.total = cell.number()?,
            "changed_by" => {
                for token in cell.array()? {
                    record.changed_by.extend(token?.as_i64());
                }
            }
            "payload" => record.payload = Some(cell.body()?),
            "text" => record.text = Some(cell.body()?),
            "result" => record.result = Some(cell.body()?),
            _ => {}
        }
    }
    if seen != 5 {
        return Err(wrong(document, "state", "the record is not whole"));
    }
    job.history = history.join(job.attempt)?;
    record.job = job;
    Ok(record)
}

/// A field and its value.
pub(super) struct Cell<'a> {
    pub(super) document: &'a RawDocument,
    pub(super) field: &'a str,
    pub(super) value: RawBsonRef<'a>,
}

impl<'a> Cell<'a> {
    fn wrong(&self, what: impl std::fmt::Display) -> Fault {
        wrong(self.document, self.field, what)
    }

    pub(super) fn number<N: TryFrom<i64>>(&self) -> Result<N, Fault> {
        let number = match self.value {
            RawBsonRef::Int32(number) => i64::from(number),
            RawBsonRef::Int64(number) => number,
            // The shell writes numbers so.
            RawBsonRef::Double(number) => number as i64,
            _ => return Err(self.wrong("is no number")),
        };
        N::try_from(number).map_err(|_| self.wrong(format_args!("{number} is out of range")))
    }

    fn time(&self) -> Result<Timestamp, Fault> {
        let at = self.value.as_datetime().ok_or_else(|| self.wrong("is no time"))?;
        Ok(Timestamp::from_millis(at.timestamp_millis()))
    }

    fn flag(&self) -> Result<bool, Fault> {
        self.value.as_bool().ok_or_else(|| self.wrong("is neither true nor false"))
    }

    fn text(&self) -> Result<&'a str, Fault> {
        self.value.as_str().ok_or_else(|| self.wrong("is no text"))
    }

    fn parsed<T: FromStr<Err: std::fmt::Display>>(&self) -> Result<T, Fault> {
        parsed(self.document, self.field, self.text()?)
    }

    fn state(&self) -> Result<State, Fault> {
        state(self.text()?).ok_or_else(|| self.wrong("is no state"))
    }

    fn priority(&self) -> Result<Priority, Fault> {
        let band: usize = self.number()?;
        Priority::ALL.get(band).copied().ok_or_else(|| self.wrong(format_args!("{band} is no band")))
    }

    fn document(&self) -> Result<&'a RawDocument, Fault> {
        self.value.as_document().ok_or_else(|| self.wrong("is no document"))
    }

    fn array(&self) -> Result<&'a mongodb::bson::RawArray, Fault> {
        self.value.as_array().ok_or_else(|| self.wrong("is no array"))
    }

    fn texts(&self) -> Result<Vec<String>, Fault> {
        let text = |item: RawBsonRef<'_>| item.as_str().map(str::to_owned).ok_or_else(|| self.wrong("is no text"));
        self.array()?.into_iter().map(|item| text(item?)).collect()
    }

    pub(super) fn bytes(&self) -> Result<&'a [u8], Fault> {
        Ok(self.value.as_binary().ok_or_else(|| self.wrong("is not binary"))?.bytes)
    }

    pub(super) fn body(&self) -> Result<Body, Fault> {
        if self.value.as_binary().is_some() {
            return Ok(Body::Inline(Bytes::copy_from_slice(self.bytes()?)));
        }
        let blob = self.document()?;
        let bytes = Cell { value: present(blob.get("bytes")?, self.document, self.field)?, ..*self }.number()?;
        Ok(Body::Blob(BlobRef { id: parsed(self.document, self.field, blob.get_str("blob")?)?, bytes }))
    }
}

/// Reads the word of a state.
pub(super) fn state(word: &str) -> Option<State> {
    State::ALL.into_iter().find(|state| state.as_str() == word)
}

fn present<'a>(value: Option<RawBsonRef<'a>>, document: &RawDocument, field: &str) -> Result<RawBsonRef<'a>, Fault> {
    value.ok_or_else(|| wrong(document, field, "is not whole"))
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(document: &RawDocument, field: &str, text: &str) -> Result<T, Fault> {
    text.parse().map_err(|error| wrong(document, field, error))
}
