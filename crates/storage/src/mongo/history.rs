//! A job's history in its document: the first entry apart from the last ones, so that a plain update can add one and
//! keep within the bound.

use gristmill_common::{
    Timestamp,
    job::{History, HistoryEntry, MAX_ENTRIES, What},
};
use mongodb::bson::{RawArrayBuf, RawDocument, RawDocumentBuf, raw::cstr, rawdoc};

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
    pub(super) rest: Vec<HistoryEntry>,
    pub(super) total: u32,
}

impl Parts {
    /// The history.
    pub(super) fn join(self) -> Result<History, Fault> {
        let kept = self.first.iter().len() + self.rest.len();
        if self.total as usize <= kept {
            let mut history = History::default();
            self.first.into_iter().chain(self.rest).for_each(|entry| history.push(entry));
            return Ok(history);
        }
        // Entries were left out, and only the form in which it is sent knows how many.
        let entries: Vec<HistoryEntry> = self.first.into_iter().chain(self.rest).collect();
        serde_json::from_value(serde_json::json!({ "entries": entries, "total": self.total }))
            .map_err(|error| Fault::Corrupt(format!("a history: {error}")))
    }
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

/// Reads an entry.
pub(super) fn read(document: &RawDocument) -> Result<HistoryEntry, Fault> {
    let word = document.get_str("what")?;
    let what = WORDS.iter().find(|(_, known)| *known == word).map(|(what, _)| *what);
    let what = what.ok_or_else(|| Fault::Corrupt(format!("a history has `{word}`")))?;
    let at = Timestamp::from_millis(document.get_datetime("at")?.timestamp_millis());
    let mut entry = HistoryEntry::new(at, what);
    for field in document.iter() {
        let (field, value) = field?;
        if let ("attempt", Some(attempt)) = (field.as_str(), value.as_i64()) {
            entry.attempt = u32::try_from(attempt).ok();
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
    Ok(entry)
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
            first: Some(read(document.get_document("first").expect("an entry")).expect("it is read")),
            rest: rest
                .map(|entry| read(entry.expect("a value").as_document().expect("an entry")).expect("it is read"))
                .collect(),
            total: document.get_i64("total").expect("a number") as u32,
        };
        assert_eq!(parts.join().expect("a history"), history);
    }
}
