//! The bodies of requests: read within limits, never waited for for ever, drained within bounds when refused.

use std::{
    cell::RefCell,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    body::{BodySize, BoxBody, MessageBody},
    dev::Payload,
    error::PayloadError,
    http::header::{CONTENT_LENGTH, HeaderMap},
};
use bytes::{Bytes, BytesMut};
use futures::Stream;

use crate::{
    load::{Load, Room},
    problem::{ApiError, Code},
};

/// How much of a refused body is read before the answer, so that the connection can stay open. Bytes.
const DRAINED_BEFORE: usize = 512 * 1024;
/// How long that may take.
const DRAIN_PATIENCE: Duration = Duration::from_millis(200);
/// What a body has in memory that is streamed: the HTTP layer reads at most 128 KiB at once, four of these wait for the
/// store, one is on its way on either side, and the store gathers them. Bytes.
const STREAMED: usize = 1 << 20;

/// A body on its way in. Clones are the same body: the gate keeps one to see what was left unread.
#[derive(Clone)]
pub(crate) struct Intake(Rc<RefCell<State>>);

struct State {
    payload: Payload,
    /// Nothing more will come.
    ended: bool,
    /// What the room for it is taken from; nothing for a body that is none.
    load: Option<Arc<Load>>,
    /// The room that it has.
    room: Option<Room>,
}

impl Default for Intake {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(State { payload: Payload::None, ended: true, load: None, room: None })))
    }
}

impl Intake {
    pub(crate) fn new(payload: Payload, load: Arc<Load>) -> Self {
        Self(Rc::new(RefCell::new(State { payload, ended: false, load: Some(load), room: None })))
    }

    /// Whether all of it has been read.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.borrow().ended
    }

    /// The next piece of a body that is passed on; `None` at the end. Before the first, room is taken for a few.
    pub(crate) async fn next(&self, patience: Duration) -> Result<Option<Bytes>, ApiError> {
        if self.0.borrow().room.is_none() {
            self.take_room(STREAMED)?;
        }
        self.piece(patience).await
    }

    async fn piece(&self, patience: Duration) -> Result<Option<Bytes>, ApiError> {
        let waited = tokio::time::timeout(patience, poll_fn(|context| self.poll(context))).await;
        let Ok(piece) = waited else {
            let detail = format!("Nothing came for {} ms.", patience.as_millis());
            return Err(ApiError::new(Code::RequestTimeout, detail));
        };
        piece.transpose().map_err(|error| match error {
            PayloadError::Incomplete(_) | PayloadError::Io(_) => {
                ApiError::new(Code::BodyIncomplete, "The body broke off before its end.")
            }
            _ => ApiError::new(Code::BadRequest, "The body is not encoded as HTTP asks for."),
        })
    }

    /// All of it, at most `limit` bytes. Room is taken before anything is read, and kept until the answer.
    pub(crate) async fn whole(&self, headers: &HeaderMap, limit: usize, patience: Duration) -> Result<Bytes, ApiError> {
        check_length(headers, limit as u64)?;
        let announced = announced(headers).and_then(|length| usize::try_from(length).ok());
        self.take_room(announced.unwrap_or(limit))?;
        let whole = self.gather(limit, patience).await?;
        if announced.is_none() {
            self.keep_room(whole.len());
        }
        Ok(whole)
    }

    async fn gather(&self, limit: usize, patience: Duration) -> Result<Bytes, ApiError> {
        let Some(first) = self.piece(patience).await? else { return Ok(Bytes::new()) };
        if first.len() > limit {
            return Err(too_large(limit as u64));
        }
        // Most bodies come in one piece.
        let Some(second) = self.piece(patience).await? else { return Ok(first) };
        let mut whole = BytesMut::from(first);
        let mut next = Some(second);
        while let Some(piece) = next {
            if whole.len() + piece.len() > limit {
                return Err(too_large(limit as u64));
            }
            whole.extend_from_slice(&piece);
            next = self.piece(patience).await?;
        }
        Ok(whole.freeze())
    }

    fn take_room(&self, bytes: usize) -> Result<(), ApiError> {
        let mut state = self.0.borrow_mut();
        if let Some(load) = &state.load {
            state.room = Some(load.room_for(bytes)?);
        }
        Ok(())
    }

    /// Gives back what a body without a length did not need.
    fn keep_room(&self, bytes: usize) {
        let mut state = self.0.borrow_mut();
        if let Some(room) = &mut state.room {
            let surplus = room.num_permits().saturating_sub(bytes);
            drop(room.split(surplus));
        }
    }

    /// Gives all room back: the answer is made, and nothing of the body is kept.
    pub(crate) fn leave(&self) {
        self.0.borrow_mut().room = None;
    }

    /// Reads and forgets a little of what was not read, if it comes soon.
    pub(crate) async fn drain(&self) {
        let drained = async {
            let mut bytes = 0;
            while bytes <= DRAINED_BEFORE {
                match poll_fn(|context| self.poll(context)).await {
                    Some(Ok(piece)) => bytes += piece.len(),
                    Some(Err(_)) | None => return,
                }
            }
        };
        let _ = tokio::time::timeout(DRAIN_PATIENCE, drained).await;
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, PayloadError>>> {
        let mut state = self.0.borrow_mut();
        if state.ended {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut state.payload).poll_next(context);
        state.ended = matches!(polled, Poll::Ready(None | Some(Err(_))));
        polled
    }
}

/// Refuses a body whose announced length is over the limit, before anything of it is read.
pub(crate) fn check_length(headers: &HeaderMap, limit: u64) -> Result<(), ApiError> {
    if announced(headers).is_some_and(|length| length > limit) { Err(too_large(limit)) } else { Ok(()) }
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(limit: u64) -> ApiError {
    ApiError::new(Code::PayloadTooLarge, format!("At most {limit} bytes are taken here."))
}

/// An answer that was made before the request's body had come. The HTTP layer reads on for ever for a chunked
/// body that nobody holds; while the body is held, it closes the connection within its disconnect timeout instead.
pub(crate) struct Early {
    answer: BoxBody,
    _unread: Intake,
}

impl Early {
    pub(crate) fn new(answer: BoxBody, unread: Intake) -> Self {
        Self { answer, _unread: unread }
    }
}

impl MessageBody for Early {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().answer).poll_next(context)
    }
}
