//! A change as MongoDB carries it out: the guard is the filter, the sets are plain operators. It means what
//! `Change::apply` means; the conformance suite holds it to that.

use gristmill_common::{
    Part, State,
    job::{Change, Guard, JobKey, Set},
};
use mongodb::bson::{
    RawArrayBuf, RawDocumentBuf,
    raw::{CStr, cstr},
    rawdoc,
};

use super::{
    decode::known,
    document::{DEADLINE, LANE, TwoNames, append_body, dead_document, error_document, job_id, part_name, signed, time},
    history,
};

/// How many of the last bulk writes a job remembers, so that each of them finds out what it changed even if others
/// came right after it.
const REMEMBERED: i32 = 4;

/// An update, operator by operator. Operators that change nothing are left out.
#[derive(Default)]
pub(super) struct Update {
    set: RawDocumentBuf,
    unset: RawDocumentBuf,
    increase: RawDocumentBuf,
    rename: RawDocumentBuf,
    push: RawDocumentBuf,
}

impl Update {
    pub(super) fn set(&mut self, field: &CStr, value: impl mongodb::bson::raw::BindRawBsonRef) {
        self.set.append(field, value);
    }

    pub(super) fn increase(&mut self, field: &CStr, by: i64) {
        self.increase.append(field, by);
    }

    pub(super) fn push(&mut self, field: &CStr, value: RawDocumentBuf) {
        self.push.append(field, value);
    }

    pub(super) fn unset(&mut self, field: &CStr) {
        self.unset.append(field, "");
    }

    fn text(&mut self, field: &CStr, value: Option<String>) {
        match value {
            Some(value) => self.set(field, value),
            None => self.unset(field),
        }
    }

    fn time(&mut self, field: &CStr, value: Option<gristmill_common::Timestamp>) {
        match value {
            Some(at) => self.set(field, time(at)),
            None => self.unset(field),
        }
    }

    /// Gives a field that has two names the right one after a change of state.
    pub(super) fn rename(&mut self, field: &TwoNames, from: State, to: State) {
        let (was, is) = (field.of(from), field.of(to));
        if was != is {
            self.rename.append(was, is.as_str());
        }
    }

    pub(super) fn into_document(self) -> RawDocumentBuf {
        let operators = [
            (cstr!("$set"), self.set),
            (cstr!("$unset"), self.unset),
            (cstr!("$inc"), self.increase),
            (cstr!("$rename"), self.rename),
            (cstr!("$push"), self.push),
        ];
        operators.into_iter().filter(|(_, fields)| !fields.is_empty()).collect()
    }
}

/// The statement of a bulk write that carries a change out, on a job of this version if one is given, and leaves the
/// write's token.
pub(super) fn statement(change: &Change, version: Option<u64>, token: i64) -> RawDocumentBuf {
    let mut update = Update::default();
    let (from, to) = (change.guard.state, change.next_state());
    for set in &change.sets {
        apply(&mut update, &change.key, set, to);
    }
    update.rename(&LANE, from, to);
    // A deadline that is set gets the right name at once.
    if !change.sets.iter().any(|set| matches!(set, Set::Deadline(_))) {
        update.rename(&DEADLINE, from, to);
    }
    for (part, body) in [(Part::Payload, &change.payload), (Part::Result, &change.result)] {
        if let Some(body) = body {
            append_body(&mut update.set, part_name(part), body);
        }
    }
    if let Some(entry) = &change.entry {
        update.push(cstr!("history"), history::push(entry));
        update.increase(cstr!("total"), 1);
    }
    update.increase(cstr!("version"), 1);
    let mut tokens = RawArrayBuf::new();
    tokens.push(token);
    update.push(cstr!("changed_by"), rawdoc! { "$each": tokens, "$slice": -REMEMBERED });
    let mut filter = filter(&change.key, &change.guard);
    if let Some(version) = version {
        filter.append(cstr!("version"), signed(version));
    }
    rawdoc! { "q": filter, "u": update.into_document() }
}

fn filter(key: &JobKey, guard: &Guard) -> RawDocumentBuf {
    let mut filter = rawdoc! { "_id": job_id(key), "state": guard.state.as_str() };
    filter.append(cstr!("v"), known());
    if let Some(lease) = guard.lease {
        filter.append(cstr!("lease"), lease.to_string());
    }
    if let Some(claims) = guard.claims {
        filter.append(cstr!("claims"), i64::from(claims));
    }
    if let Some(rings) = guard.rings {
        filter.append(cstr!("rings"), i64::from(rings));
    }
    if let Some(asked) = guard.cancel_requested {
        filter.append(cstr!("cancel_requested"), asked);
    }
    if let Some(wake_at) = guard.wake_at {
        filter.append(cstr!("wake_at"), time(wake_at));
    }
    filter
}

fn apply(update: &mut Update, key: &JobKey, set: &Set, next: State) {
    match set {
        Set::State(state) => update.set(cstr!("state"), state.as_str()),
        Set::WakeAt(at) => update.set(cstr!("wake_at"), time(*at)),
        Set::Attempt(attempt) => update.set(cstr!("attempt"), i64::from(*attempt)),
        Set::MaxAttempts(most) => update.set(cstr!("max_attempts"), i64::from(*most)),
        Set::Claims(claims) => update.set(cstr!("claims"), i64::from(*claims)),
        Set::Rescues(rescues) => update.set(cstr!("rescues"), i64::from(*rescues)),
        Set::Rings(rings) => update.set(cstr!("rings"), i64::from(*rings)),
        Set::Lease(lease) => update.text(cstr!("lease"), lease.map(|id| id.to_string())),
        Set::Worker(worker) => update.text(cstr!("worker"), worker.map(|id| id.to_string())),
        Set::SettledBy(lease) => update.text(cstr!("settled_by"), lease.map(|id| id.to_string())),
        Set::CancelRequested(asked) => update.set(cstr!("cancel_requested"), *asked),
        Set::Deadline(at) => {
            update.time(DEADLINE.of(next), *at);
            update.unset(DEADLINE.not_of(next));
        }
        Set::StartedAt(at) => update.time(cstr!("started_at"), *at),
        Set::FinishedAt(at) => update.time(cstr!("finished_at"), *at),
        Set::FailedAt(Some(at)) => update.set(cstr!("dead"), dead_document(key, *at)),
        Set::FailedAt(None) => update.unset(cstr!("dead")),
        Set::Progress(progress) => {
            update.set(cstr!("percent"), i64::from(progress.percent));
            update.text(cstr!("message"), progress.message.clone());
        }
        Set::Error(Some(error)) => update.set(cstr!("error"), error_document(error)),
        Set::Error(None) => update.unset(cstr!("error")),
    }
}
