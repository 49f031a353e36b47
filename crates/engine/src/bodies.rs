//! Bodies: small ones beside their job, larger ones as blobs.

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream::BoxStream};
use gristmill_common::{BlobId, BlobRef, Body, INLINE_LIMIT, job::JobKey};
use gristmill_storage::{BLOB_CHUNK, StoreError, UPLOAD_EXPIRY};

use crate::{Engine, EngineError};

impl Engine {
    /// Makes a body of bytes: inline, or a committed blob of the job.
    pub(crate) async fn keep_body(&self, owner: &JobKey, bytes: Bytes) -> Result<Body, EngineError> {
        if bytes.len() <= INLINE_LIMIT {
            return Ok(Body::Inline(bytes));
        }
        let mut upload = self.begin_upload(owner).await?;
        for chunk in 0..bytes.len().div_ceil(BLOB_CHUNK) {
            let end = bytes.len().min((chunk + 1) * BLOB_CHUNK);
            upload.append(bytes.slice(chunk * BLOB_CHUNK..end)).await?;
        }
        Ok(Body::Blob(upload.commit().await?))
    }

    /// Begins a blob for a job that need not exist yet.
    pub(crate) async fn begin_upload(&self, owner: &JobKey) -> Result<Upload, EngineError> {
        let id = BlobId::fresh();
        self.store().begin_blob(id, owner, self.now() + UPLOAD_EXPIRY).await?;
        Ok(Upload { engine: self.clone(), id })
    }

    /// Drops the blobs among these bodies; what cannot be dropped now is left to the collector.
    pub(crate) async fn drop_bodies(&self, bodies: &[Body]) {
        let blobs: Vec<BlobId> =
            bodies.iter().filter_map(|body| if let Body::Blob(blob) = body { Some(blob.id) } else { None }).collect();
        if blobs.is_empty() {
            return;
        }
        self.0.not_dropped.after(self.store().drop_blobs(&blobs).await);
    }

    /// The whole of a body.
    pub(crate) async fn load_body(&self, body: Body) -> Result<Bytes, StoreError> {
        let blob = match body {
            Body::Inline(bytes) => return Ok(bytes),
            Body::Blob(blob) => blob,
        };
        let mut whole = BytesMut::with_capacity(usize::try_from(blob.bytes).unwrap_or(0));
        let mut chunks = self.stream_blob(blob);
        while let Some(chunk) = chunks.next().await {
            whole.extend_from_slice(&chunk?);
        }
        Ok(whole.freeze())
    }

    /// A body, chunk by chunk.
    pub(crate) fn stream_body(&self, body: Body) -> BoxStream<'static, Result<Bytes, StoreError>> {
        match body {
            Body::Inline(bytes) => futures::stream::iter([Ok(bytes)]).boxed(),
            Body::Blob(blob) => self.stream_blob(blob),
        }
    }

    fn stream_blob(&self, blob: BlobRef) -> BoxStream<'static, Result<Bytes, StoreError>> {
        let store = self.0.store.clone();
        futures::stream::try_unfold(0u64, move |at| {
            let store = store.clone();
            async move {
                if at >= blob.bytes {
                    return Ok(None);
                }
                match store.read_blob(blob.id, at).await? {
                    Some(chunk) => {
                        let next = at + chunk.len() as u64;
                        Ok(Some((chunk, next)))
                    }
                    None => Err(StoreError::Corrupt(format!("{} ends at byte {at} of {}", blob.id, blob.bytes))),
                }
            }
        })
        .boxed()
    }
}

/// A blob that is being written.
pub(crate) struct Upload {
    engine: Engine,
    id: BlobId,
}

impl Upload {
    pub(crate) async fn append(&mut self, chunk: Bytes) -> Result<(), EngineError> {
        let expires = self.engine.now() + UPLOAD_EXPIRY;
        if self.engine.store().append_blob(self.id, chunk, expires).await? { Ok(()) } else { Err(collected().into()) }
    }

    pub(crate) async fn commit(self) -> Result<BlobRef, EngineError> {
        let now = self.engine.now();
        Ok(self.engine.store().commit_blob(self.id, now).await?.ok_or_else(collected)?)
    }

    /// Drops what was written.
    pub(crate) async fn abort(self) {
        self.engine.0.not_dropped.after(self.engine.store().drop_blobs(&[self.id]).await);
    }
}

/// The upload paused for so long that the collector took it: the client may send it again.
fn collected() -> StoreError {
    StoreError::unavailable(std::io::Error::other("the upload expired before it was committed"))
}
