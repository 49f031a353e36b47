//! A job's history in its document: the first entry apart from the last ones, so that a plain update can add one and
//! keep within the bound.

use gristmill_common::{
    Timestamp,
    job::{History, HistoryEntry, MAX_ENTRIES, What},
};
use mongodb::bson::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, raw::cstr, rawdoc};

use super::{document::time, fault::Fault};

/// How many entries are kept beside the first.
const REST: i32 = MAX_ENTRIES as i32 - 1;

const WORDS: [(What, &str); 12] = [
    (What::Created, "created"),
    (What::Due, "due"),
    (What::Parked, "parked"),
    (What::Claimed, "claimed"),
    (What::CancelRequested, "cancel_requested"),
    (What::Succeeded, "succeeded"),
    (What::RetryScheduled, "retry_scheduled"),
    (What::Failed, "failed"),
    (What::Cancelled, "cancelled"),
    (What::Released, "released"),
    (What::Rescued, "rescued"),
    (What::RetriedByHand, "retried_by_hand"),
];

/// A history as its document has it.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) first: Option<HistoryEntry>,
    pub(super) rest: Vec<Line>,
    pub(super) total: u32,
}

/// An entry as its document has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) entry: HistoryEntry,
    /// It is a claim that counted the job's attempts up, and does not say how far.
    pub(super) counted: bool,
}

impl Parts {
    /// The history of a job that has come to this attempt.
    pub(super) fn join(self, attempt: u32) -> Result<History, Fault> {
        let entries: Vec<HistoryEntry> = self.first.into_iter().chain(with_attempts(self.rest, attempt)).collect();
        if self.total as usize <= entries.len() {
            let mut history = History::default();
            entries.into_iter().for_each(|entry| history.push(entry));
            return Ok(history);
        }
        // Entries were left out, and only the form in which it is sent knows how many.
        serde_json::from_value(serde_json::json!({ "entries": entries, "total": self.total }))
            .map_err(|error| Fault::Corrupt(format!("a history: {error}")))
    }
}

/// Tells the claims that do not say it which attempt they were, back from the job's last one: only a claim counts up,
/// and only a release or a rescue counts down.
fn with_attempts(mut lines: Vec<Line>, mut attempt: u32) -> impl Iterator<Item = HistoryEntry> {
    for Line { entry, counted } in lines.iter_mut().rev() {
        match entry.what {
            What::Claimed => {
                if *counted {
                    entry.attempt = Some(attempt);
                }
                attempt = attempt.saturating_sub(1);
            }
            What::Released | What::Rescued => attempt = attempt.saturating_add(1),
            _ => {}
        }
    }
    lines.into_iter().map(|line| line.entry)
}

/// Appends a new job's history.
pub(super) fn append(document: &mut RawDocumentBuf, history: &History) {
    let mut entries = history.entries();
    let total = entries.len() as i64 + i64::from(history.omitted());
    if let Some(first) = entries.next() {
        document.append(cstr!("first"), entry(first));
    }
    if entries.len() > 0 {
        document.append(cstr!("history"), entries.map(entry).collect::<RawArrayBuf>());
    }
    document.append(cstr!("total"), total);
}

/// The `$push` that adds an entry; `total` must be counted up with it.
pub(super) fn push(added: &HistoryEntry) -> RawDocumentBuf {
    let mut each = RawArrayBuf::new();
    each.push(entry(added));
    rawdoc! { "$each": each, "$slice": -REST }
}

fn entry(entry: &HistoryEntry) -> RawDocumentBuf {
    let word = WORDS.iter().find(|(what, _)| *what == entry.what).map_or("", |(_, word)| word);
    let mut document = rawdoc! { "at": time(entry.at), "what": word };
    if let Some(worker) = entry.worker {
        document.append(cstr!("worker"), worker.to_string());
    }
    if let Some(attempt) = entry.attempt {
        document.append(cstr!("attempt"), i64::from(attempt));
    }
    if let Some(code) = &entry.code {
        document.append(cstr!("code"), code.as_str());
    }
    if let Some(message) = &entry.message {
        document.append(cstr!("message"), message.as_str());
    }
    document
}

/// The `$push` that adds a claim's entry. A claim of many jobs is one update, which cannot tell each its attempt: the
/// entry has none, and says so.
pub(super) fn push_claim(added: &HistoryEntry) -> RawDocumentBuf {
    let mut each = RawArrayBuf::new();
    let mut document = entry(added);
    document.append(cstr!("attempt"), RawBsonRef::Null);
    each.push(document);
    rawdoc! { "$each": each, "$slice": -REST }
}

/// Reads an entry.
pub(super) fn read(document: &RawDocument) -> Result<Line, Fault> {
    let word = document.get_str("what")?;
    let what = WORDS.iter().find(|(_, known)| *known == word).map(|(what, _)| *what);
    let what = what.ok_or_else(|| Fault::Corrupt(format!("a history has `{word}`")))?;
    let at = Timestamp::from_millis(document.get_datetime("at")?.timestamp_millis());
    let mut entry = HistoryEntry::new(at, what);
    let mut counted = false;
    for field in document.iter() {
        let (field, value) = field?;
        if field == "attempt" {
            counted = value.as_null().is_some();
            entry.attempt = value.as_i64().and_then(|attempt| u32::try_from(attempt).ok());
        }
        match (field.as_str(), value.as_str()) {
            ("worker", Some(id)) => {
                entry.worker = Some(id.parse().map_err(|error| Fault::Corrupt(format!("a history: {error}")))?);
            }
            ("code", Some(code)) => entry.code = Some(code.to_owned()),
            ("message", Some(message)) => entry.message = Some(message.to_owned()),
            _ => {}
        }
    }
    Ok(Line { entry, counted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_on_the_wire() {
        for (what, word) in WORDS {
            assert_eq!(serde_json::to_value(what).expect("a word"), word);
        }
    }

    #[test]
    fn a_history_comes_back_with_its_gap() {
        let mut history = History::default();
        for n in 0..100 {
            history.push(HistoryEntry::new(Timestamp::from_millis(n), What::Due));
        }
        let mut document = RawDocumentBuf::new();
        append(&mut document, &history);
        let rest = document.get_array("history").expect("entries").into_iter();
        let parts = Parts {
            first: Some(read(document.get_document("first").expect("an entry")).expect("it is read").entry),
            rest: rest
                .map(|entry| read(entry.expect("a value").as_document().expect("an entry")).expect("it is read"))
                .collect(),
            total: document.get_i64("total").expect("a number") as u32,
        };
        assert_eq!(parts.join(0).expect("a history"), history);
    }

    #[test]
    fn a_claim_is_told_its_attempt_by_what_came_after_it() {
        let line = |n, what, counted| Line { entry: HistoryEntry::new(Timestamp::from_millis(n), what), counted };
        let lines = [
            (What::Claimed, Some(1)),
            (What::RetryScheduled, None),
            (What::Due, None),
            (What::Claimed, Some(2)),
            (What::Rescued, None),
            (What::Claimed, Some(2)),
            (What::Released, None),
            (What::Claimed, Some(2)),
            (What::Failed, None),
            (What::RetriedByHand, None),
            (What::Claimed, Some(3)),
        ];
        let rest = lines.iter().zip(0..).map(|((what, _), n)| line(n, *what, *what == What::Claimed)).collect();
        let history = Parts { first: None, rest, total: 11 }.join(3).expect("a history");
        let told: Vec<_> = history.entries().map(|entry| (entry.what, entry.attempt)).collect();
        assert_eq!(told, lines);
        // One that was stored by an older build, or came from an archive, stays as it is.
        let old = Parts { first: None, rest: vec![line(0, What::Claimed, false)], total: 1 }.join(1);
        assert_eq!(old.expect("a history").entries().next().and_then(|entry| entry.attempt), None);
    }
}
