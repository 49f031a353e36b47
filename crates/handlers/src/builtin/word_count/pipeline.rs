//! Reads, counts and adds up at the same time: the stream is read ahead, blocks are counted by threads, and their
//! counts are added in the order of the text.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesOrdered};
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::oneshot;

use super::{
    blocks::{self, Block, Blocks},
    totals::{Counted, Totals},
};
use crate::{Context, HandlerError, Text};

/// How many blocks may wait for a thread or for their turn to be added.
const READ_AHEAD: usize = 3;

/// Who counts the blocks.
enum Counters {
    /// The thread that asks: for a text of one block another is not worth waking.
    Here,
    /// As many threads as the handler may use. They end when this is dropped.
    Threads(ThreadPool),
}

/// Adds up a text.
///
/// # Errors
/// Those of the stream; `invalid_utf8`; `cancelled` soon after the handler was asked to stop.
pub(super) async fn add_up(text: Text, mut totals: Totals, context: &Context) -> Result<Totals, HandlerError> {
    let counters = Counters::start(text.bytes, context.threads())?;
    let mut blocks = Blocks::new(text.chunks);
    let mut running = FuturesOrdered::new();
    let mut ended = false;
    let mut shown = 0;
    while !ended || !running.is_empty() {
        tokio::select! {
            biased;
            () = context.cancelled() => return Err(HandlerError::cancelled()),
            Some(counted) = running.next() => {
                totals.append(counted?);
                let percent = percent(totals.counts.bytes, text.bytes);
                if percent > shown {
                    shown = percent;
                    context.progress(percent, None);
                }
            }
            block = blocks.next(), if !ended && running.len() < context.threads() + READ_AHEAD => match block? {
                Some(block) => running.push_back(counters.count(block, &mut totals)),
                None => ended = true,
            },
        }
    }
    totals.close();
    Ok(totals)
}

impl Counters {
    fn start(bytes: u64, threads: usize) -> Result<Self, HandlerError> {
        if bytes <= blocks::MOST as u64 {
            return Ok(Self::Here);
        }
        let pool = ThreadPoolBuilder::new().num_threads(threads.max(1)).thread_name(|n| format!("word-count-{n}"));
        let pool = pool.build().map_err(|error| HandlerError::retryable("no_threads", error))?;
        Ok(Self::Threads(pool))
    }

    /// Starts to count a block.
    fn count(&self, block: Block, totals: &mut Totals) -> BoxFuture<'static, Result<Counted, HandlerError>> {
        let vocabulary = totals.spare_vocabulary();
        let Self::Threads(pool) = self else {
            return futures::future::ready(Counted::of(&block, vocabulary)).boxed();
        };
        let (done, counted) = oneshot::channel();
        pool.spawn(move || {
            // Whoever stopped waiting does not need it.
            if !done.is_closed() {
                // A panic in a pool would end the process; it belongs to the job.
                let _ = done.send(catch_unwind(AssertUnwindSafe(|| Counted::of(&block, vocabulary))));
            }
        });
        counted
            .map(|counted| match counted {
                Ok(Ok(counted)) => counted,
                Ok(Err(panic)) => resume_unwind(panic),
                Err(closed) => Err(HandlerError::retryable("no_threads", closed)),
            })
            .boxed()
    }
}

/// How much of the text has been counted.
fn percent(done: u64, all: u64) -> u8 {
    let percent = done.saturating_mul(100).checked_div(all).unwrap_or(100);
    u8::try_from(percent).unwrap_or(100).min(100)
}
