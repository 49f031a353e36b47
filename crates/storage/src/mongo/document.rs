//! A job as a document: which field holds what, in which form.
//!
//! Fields that an index needs only in some states have two names, and a change of state renames them: `lane` while
//! the job is queued, `deadline` while it has not started. A plain update can do that without knowing the values.

use std::str::FromStr;

use bytes::Bytes;
use gristmill_common::{
    BlobRef, Body, Part, State, Timestamp,
    job::{Job, JobError, JobKey, NewJob, Priority},
};
use mongodb::bson::{
    Binary, DateTime, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf,
    raw::{CStr, cstr},
    rawdoc,
    spec::BinarySubtype,
};

use super::{
    fault::{Fault, wrong},
    history,
};

/// The field of a queued job's lane, and its name in every other state.
pub(super) const LANE: [&CStr; 2] = [cstr!("lane"), cstr!("lane_was")];
/// The field of the deadline of a job that has not started, and its name in every other state.
pub(super) const DEADLINE: [&CStr; 2] = [cstr!("deadline"), cstr!("deadline_was")];

/// The version of a document with gates, and the newest that this build knows. One without gates has no version, as
/// before there were any.
const WITH_GATES: i32 = 2;

/// Whether the job has not started, so that its deadline still counts.
pub(super) fn awaits_start(state: State) -> bool {
    matches!(state, State::Scheduled | State::Queued)
}

/// The name of a field that has two.
pub(super) fn name(of: [&'static CStr; 2], indexed: bool) -> &'static CStr {
    of[usize::from(!indexed)]
}

/// A job's `_id`. Neither part holds a slash, and every id is of one length.
pub(super) fn job_id(key: &JobKey) -> String {
    format!("{}/{}", key.id, key.tenant)
}

pub(super) fn job_key(id: &str) -> Option<JobKey> {
    let (id, tenant) = id.split_once('/')?;
    Some(JobKey { tenant: tenant.parse().ok()?, id: id.parse().ok()? })
}

pub(super) fn time(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.as_millis())
}

/// The field that holds a body.
pub(super) fn part_name(part: Part) -> &'static CStr {
    match part {
        Part::Payload => cstr!("payload"),
        Part::Text => cstr!("text"),
        Part::Result => cstr!("result"),
    }
}

/// The bodies of a document, left out.
pub(super) fn without_bodies() -> RawDocumentBuf {
    rawdoc! { "payload": 0, "text": 0, "result": 0 }
}

/// Appends a body: its bytes, or the blob that has them.
pub(super) fn append_body(document: &mut RawDocumentBuf, field: &CStr, body: &Body) {
    match body {
        Body::Inline(bytes) => document.append(field, binary(bytes)),
        Body::Blob(blob) => {
            let length = signed(blob.bytes);
            document.append(field, rawdoc! { "blob": blob.id.to_string(), "bytes": length });
        }
    }
}

pub(super) fn binary(bytes: &[u8]) -> mongodb::bson::raw::RawBinaryRef<'_> {
    mongodb::bson::raw::RawBinaryRef { subtype: BinarySubtype::Generic, bytes }
}

/// MongoDB has signed numbers only. No timeout and no version comes near the end of them.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn error_document(error: &JobError) -> RawDocumentBuf {
    rawdoc! { "code": error.code.as_str(), "message": error.message.as_str(), "attempt": i64::from(error.attempt) }
}

/// What only dead letters have.
pub(super) fn dead_document(key: &JobKey, failed_at: Timestamp) -> RawDocumentBuf {
    rawdoc! { "tenant": key.tenant.as_str(), "at": time(failed_at), "id": job_id(key) }
}

/// The document of a new job.
pub(super) fn encode(new: &NewJob) -> Result<RawDocumentBuf, Fault> {
    let job = &new.job;
    let backoff = serde_json::to_string(&job.backoff).map_err(|error| Fault::Corrupt(error.to_string()))?;
    let mut document = rawdoc! {
        "_id": job_id(&job.key),
        "type": job.job_type.as_str(),
        "tenant": job.key.tenant.as_str(),
        "queue": job.queue.as_str(),
        "priority": job.priority.band() as i64,
        "state": job.state.as_str(),
        "wake_at": time(job.wake_at),
        "created_at": time(job.created_at),
        "attempt": i64::from(job.attempt),
        "max_attempts": i64::from(job.max_attempts),
        "claims": i64::from(job.claims),
        "rescues": i64::from(job.rescues),
        "rings": i64::from(job.rings),
        "cancel_requested": job.cancel_requested,
        "backoff": backoff,
        "timeout_ms": signed(job.timeout_ms),
        "percent": i64::from(job.progress.percent),
        "version": signed(job.version),
    };
    document.append(name(LANE, job.state == State::Queued), job.lane().to_text());
    let mut text = |field, value: Option<String>| {
        if let Some(value) = value {
            document.append(field, value);
        }
    };
    text(cstr!("lease"), job.lease.map(|id| id.to_string()));
    text(cstr!("worker"), job.worker.map(|id| id.to_string()));
    text(cstr!("settled_by"), job.settled_by.map(|id| id.to_string()));
    text(cstr!("message"), job.progress.message.clone());
    text(cstr!("trace"), job.trace.clone());
    for (field, value) in [
        (name(DEADLINE, awaits_start(job.state)), job.deadline),
        (cstr!("run_at"), job.run_at),
        (cstr!("started_at"), job.started_at),
        (cstr!("finished_at"), job.finished_at),
    ] {
        if let Some(at) = value {
            document.append(field, time(at));
        }
    }
    if let Some(at) = job.failed_at {
        document.append(cstr!("dead"), dead_document(&job.key, at));
    }
    if let Some(error) = &job.error {
        document.append(cstr!("error"), error_document(error));
    }
    if !job.tags.is_empty() {
        document.append(cstr!("tags"), job.tags.iter().map(String::as_str).collect::<RawArrayBuf>());
    }
    if let Some(fingerprint) = job.fingerprint {
        document.append(cstr!("fingerprint"), Binary { subtype: BinarySubtype::Generic, bytes: fingerprint.to_vec() });
    }
    if let Some(gates) = &job.gates {
        let gates = serde_json::to_string(gates).map_err(|error| Fault::Corrupt(error.to_string()))?;
        document.append(cstr!("gates"), gates);
        document.append(cstr!("v"), WITH_GATES);
    }
    history::append(&mut document, &job.history);
    append_body(&mut document, part_name(Part::Payload), &new.payload);
    if let Some(body) = &new.text {
        append_body(&mut document, part_name(Part::Text), body);
    }
    Ok(document)
}

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
            "first" => history.first = Some(history::read(cell.document()?)?),
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
    job.history = history.join()?;
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
