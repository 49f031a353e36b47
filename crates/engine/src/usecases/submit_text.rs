//! Submit with a text as the request's body: streamed into the store, never whole in memory, checked as UTF-8 on
//! the way. Nothing of a text that breaks off is kept.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use gristmill_common::{
    Body, INLINE_LIMIT,
    http::{FieldError, JobRequest},
    job::{Job, JobKey, NewJob},
};
use gristmill_storage::BLOB_CHUNK;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::submit::{Origin, job_id, no_outcome, payload_bytes};
use crate::{Engine, EngineError, bodies::Upload, to_the_end};

/// A piece of a text on its way in. A channel that closes before `End` is a text that broke off.
#[derive(Debug)]
pub enum TextPart {
    /// The next bytes.
    Chunk(Bytes),
    /// There are no more.
    End,
}

impl Engine {
    /// Stores a job whose text comes as a stream; the request's payload has the other fields. When this returns,
    /// the job and its text are durable. A caller that goes away closes the channel, and nothing remains.
    ///
    /// # Errors
    /// As `submit`; also a type that takes no text, invalid UTF-8, a text over the limit or one that broke off.
    pub async fn submit_text(
        &self,
        origin: Origin,
        request: JobRequest,
        parts: mpsc::Receiver<TextPart>,
    ) -> Result<Job, EngineError> {
        let engine = self.clone();
        to_the_end(async move { engine.receive(&origin, request, parts).await }).await
    }

    async fn receive(
        &self,
        origin: &Origin,
        request: JobRequest,
        parts: mpsc::Receiver<TextPart>,
    ) -> Result<Job, EngineError> {
        let mut draft = self.draft(origin, job_id(origin, None), &request, Instant::now()).await?;
        if !draft.job_type.record().accepts_text {
            return Err(EngineError::TextNotAccepted(draft.job.job_type));
        }
        let payload = request.payload.map_or(Bytes::from_static(b"{}"), payload_bytes);
        draft.job_type.check(&payload, "?payload")?;
        if has_text(&payload) {
            let error = FieldError::new("?payload/text", "must not be sent together with a text/plain body");
            return Err(EngineError::Invalid(vec![error]));
        }
        let received = self.receive_text(&draft.job.key, parts).await?;
        if let Some(fingerprint) = &mut draft.job.fingerprint {
            *fingerprint = Sha256::new().chain_update(*fingerprint).chain_update(received.digest).finalize().into();
        }
        let payload = match self.keep_body(&draft.job.key, payload).await {
            Ok(payload) => payload,
            Err(error) => {
                self.drop_bodies(&[received.text]).await;
                return Err(error);
            }
        };
        let new = NewJob { job: draft.job, payload, text: Some(received.text) };
        self.insert(vec![new]).await.pop().unwrap_or_else(no_outcome)
    }

    async fn receive_text(&self, owner: &JobKey, mut parts: mpsc::Receiver<TextPart>) -> Result<Received, EngineError> {
        let mut reception = Reception::new(self.0.config.max_text_bytes);
        let outcome = loop {
            match parts.recv().await {
                Some(TextPart::Chunk(chunk)) => {
                    if let Err(error) = reception.take(self, owner, &chunk).await {
                        break Err(error);
                    }
                }
                Some(TextPart::End) => break reception.check_end(),
                None => break Err(EngineError::TextBrokeOff),
            }
        };
        match outcome {
            Ok(()) => reception.finish().await,
            Err(error) => {
                if let Some(upload) = reception.upload {
                    upload.abort().await;
                }
                Err(error)
            }
        }
    }
}

struct Received {
    text: Body,
    digest: [u8; 32],
}

/// A text on its way in: in memory up to what fits beside its job, then chunk by chunk into a blob.
struct Reception {
    limit: u64,
    total: u64,
    waiting: BytesMut,
    upload: Option<Upload>,
    utf8: Utf8Check,
    digest: Sha256,
}

impl Reception {
    fn new(limit: u64) -> Self {
        let utf8 = Utf8Check::default();
        Self { limit, total: 0, waiting: BytesMut::new(), upload: None, utf8, digest: Sha256::new() }
    }

    async fn take(&mut self, engine: &Engine, owner: &JobKey, chunk: &[u8]) -> Result<(), EngineError> {
        self.total += chunk.len() as u64;
        if self.total > self.limit {
            return Err(EngineError::TextTooLarge { limit: self.limit });
        }
        self.utf8.take(chunk).map_err(|offset| EngineError::InvalidUtf8 { offset })?;
        self.digest.update(chunk);
        self.waiting.extend_from_slice(chunk);
        if self.upload.is_none() && self.waiting.len() > INLINE_LIMIT {
            self.upload = Some(engine.begin_upload(owner).await?);
        }
        if let Some(upload) = &mut self.upload {
            while self.waiting.len() >= BLOB_CHUNK {
                upload.append(self.waiting.split_to(BLOB_CHUNK).freeze()).await?;
            }
        }
        Ok(())
    }

    fn check_end(&self) -> Result<(), EngineError> {
        self.utf8.end().map_err(|offset| EngineError::InvalidUtf8 { offset })
    }

    async fn finish(self) -> Result<Received, EngineError> {
        let text = match self.upload {
            None => Body::Inline(self.waiting.freeze()),
            Some(mut upload) => {
                if !self.waiting.is_empty() {
                    upload.append(self.waiting.freeze()).await?;
                }
                Body::Blob(upload.commit().await?)
            }
        };
        Ok(Received { text, digest: self.digest.finalize().into() })
    }
}

/// Checks UTF-8 that comes in pieces; a piece may end within a character.
#[derive(Default)]
struct Utf8Check {
    /// The bytes of a character that the last piece began and did not end.
    open: Vec<u8>,
    /// How many bytes came before `open`.
    checked: u64,
}

impl Utf8Check {
    /// Takes a piece; the error is the offset of the first byte that belongs to no character.
    fn take(&mut self, mut piece: &[u8]) -> Result<(), u64> {
        while !self.open.is_empty() {
            let Some((&next, rest)) = piece.split_first() else { return Ok(()) };
            self.open.push(next);
            piece = rest;
            match std::str::from_utf8(&self.open) {
                Ok(_) => {
                    self.checked += self.open.len() as u64;
                    self.open.clear();
                }
                Err(error) if error.error_len().is_some() => return Err(self.checked),
                Err(_) => {}
            }
        }
        match simdutf8::compat::from_utf8(piece) {
            Ok(_) => self.checked += piece.len() as u64,
            Err(error) => {
                self.checked += error.valid_up_to() as u64;
                if error.error_len().is_some() {
                    return Err(self.checked);
                }
                self.open.extend_from_slice(&piece[error.valid_up_to()..]);
            }
        }
        Ok(())
    }

    fn end(&self) -> Result<(), u64> {
        if self.open.is_empty() { Ok(()) } else { Err(self.checked) }
    }
}

fn has_text(payload: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct MayHaveText {
        text: Option<serde::de::IgnoredAny>,
    }
    serde_json::from_slice::<MayHaveText>(payload).is_ok_and(|payload| payload.text.is_some())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check_in_pieces(bytes: &[u8], piece: usize) -> Result<(), u64> {
        let mut check = Utf8Check::default();
        bytes.chunks(piece).try_for_each(|piece| check.take(piece))?;
        check.end()
    }

    proptest! {
        #[test]
        fn pieces_are_judged_as_the_whole(bytes in prop::collection::vec(any::<u8>(), 0..64), text: String, piece in 1usize..9) {
            for bytes in [&bytes[..], text.as_bytes(), &[text.as_bytes(), &bytes].concat()] {
                let whole = std::str::from_utf8(bytes).map(|_| ()).map_err(|error| error.valid_up_to() as u64);
                prop_assert_eq!(check_in_pieces(bytes, piece), whole);
            }
        }
    }
}
