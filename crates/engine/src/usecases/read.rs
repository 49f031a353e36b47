//! Read: one job, its bodies, its history and log, and pages of jobs.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures::stream::BoxStream;
use gristmill_common::{
    JobId, Part, Tenant, Timestamp, WorkerRecord,
    http::LogLine,
    job::{Job, JobKey},
};
use gristmill_storage::{Found, JobFilter, Kind, ListQuery, Order, Page, Position, StoreError};

use crate::{Engine, EngineError};

/// A page reads at most so many index entries.
const SCAN_LIMIT: usize = 10_000;
/// A worker that has not been seen for so long is no longer listed. Milliseconds.
const WORKER_GONE_MS: u64 = 30_000;

/// A question for a page.
#[derive(Debug, Clone)]
pub struct ListRequest {
    /// Whose jobs.
    pub tenant: Tenant,
    /// Which of them.
    pub filter: JobFilter,
    /// In which order.
    pub order: Order,
    /// Where the page begins: what the page before said.
    pub cursor: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// A result, small or streamed.
pub struct ResultBody {
    /// How long it is, in bytes.
    pub bytes: u64,
    /// The bytes.
    pub chunks: BoxStream<'static, Result<Bytes, StoreError>>,
}

impl Engine {
    /// A job, with its result if it has one.
    ///
    /// # Errors
    /// There is no such job, or the store could not be read. The same for all that follow.
    pub async fn job(&self, key: &JobKey) -> Result<Found, EngineError> {
        self.store().get(key).await?.ok_or(EngineError::NoSuchJob)
    }

    /// A job's payload, whole.
    pub async fn payload(&self, key: &JobKey) -> Result<Bytes, EngineError> {
        let body = self.store().body(key, Part::Payload).await?.ok_or(EngineError::NoSuchJob)?;
        Ok(self.load_body(body).await?)
    }

    /// A job's result.
    ///
    /// # Errors
    /// Also: it has none, because it has not finished or did not succeed.
    pub async fn result(&self, key: &JobKey) -> Result<ResultBody, EngineError> {
        let found = self.job(key).await?;
        let body = found.result.ok_or(EngineError::NoResult(found.job.state))?;
        Ok(ResultBody { bytes: body.len(), chunks: self.stream_body(body) })
    }

    /// What a job's handler logged, oldest first.
    pub async fn logs(&self, key: &JobKey) -> Result<Vec<LogLine>, EngineError> {
        self.job(key).await?;
        Ok(self.store().logs(key).await?)
    }

    /// A page of jobs, and where the next begins.
    ///
    /// # Errors
    /// Also: the cursor is not one that this list made.
    pub async fn list(&self, request: ListRequest) -> Result<(Vec<Job>, Option<String>), EngineError> {
        let after = request.cursor.as_deref().map(|cursor| read_cursor(cursor, request.order)).transpose()?;
        let query = ListQuery {
            tenant: request.tenant,
            filter: request.filter,
            order: request.order,
            after,
            limit: request.limit,
            scan_limit: SCAN_LIMIT,
        };
        let Page { jobs, next } = self.store().list(&query).await?;
        Ok((jobs, next.map(|position| write_cursor(position, request.order))))
    }

    /// The workers seen lately.
    pub async fn workers(&self) -> Result<Vec<WorkerRecord>, EngineError> {
        let now = self.now();
        let mut workers: Vec<WorkerRecord> = self.read_records(Kind::Worker).await?;
        workers.retain(|worker| now.since(worker.last_seen).as_millis() < u128::from(WORKER_GONE_MS));
        Ok(workers)
    }
}

/// A cursor is the place and the order it belongs to, as unpadded base64url (RFC 4648, section 5).
fn write_cursor(position: Position, order: Order) -> String {
    let mut bytes = Vec::with_capacity(CURSOR_BYTES);
    bytes.push(order as u8);
    bytes.extend(position.at.as_millis().to_be_bytes());
    bytes.extend(position.id.as_bytes());
    URL_SAFE_NO_PAD.encode(&bytes)
}

fn read_cursor(cursor: &str, order: Order) -> Result<Position, EngineError> {
    let bytes =
        URL_SAFE_NO_PAD.decode(cursor).ok().filter(|bytes| bytes.len() == CURSOR_BYTES && bytes[0] == order as u8);
    let bytes = bytes.ok_or(EngineError::BadCursor)?;
    let (at, id) = bytes[1..].split_at(8);
    let at = i64::from_be_bytes(at.try_into().map_err(|_| EngineError::BadCursor)?);
    let id = id.try_into().map_err(|_| EngineError::BadCursor)?;
    Ok(Position { at: Timestamp::from_millis(at), id: JobId::from_bytes(id) })
}

const CURSOR_BYTES: usize = 1 + 8 + 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_leads_back_to_its_place_and_only_in_its_own_list(millis in 0i64..1 << 47, id: [u8; 16]) {
            let position = Position { at: Timestamp::from_millis(millis), id: JobId::from_bytes(id) };
            let cursor = write_cursor(position, Order::NewestFirst);
            prop_assert_eq!(read_cursor(&cursor, Order::NewestFirst).ok(), Some(position));
            prop_assert!(read_cursor(&cursor, Order::OldestFirst).is_err());
        }

        #[test]
        fn any_text_is_a_cursor_or_an_error(text: String) {
            prop_assert!(matches!(read_cursor(&text, Order::NewestFirst), Ok(_) | Err(EngineError::BadCursor)));
        }
    }
}
