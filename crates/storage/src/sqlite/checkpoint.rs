//! Checkpoints: moving pages from the log into the database, on a thread and a connection of their own. Within
//! the writer they would stall its commits; see the decision record on the SQLite store.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use rusqlite::Connection;

use super::fault::{Fault, stop_if_the_disk_failed};

/// The least time between two checkpoints while there are commits.
const INTERVAL: Duration = Duration::from_millis(200);
/// How long the store must rest before a long log is cut.
const REST: Duration = Duration::from_secs(2);
/// A log that reaches this length, in pages of 4 KiB, is started over, which makes the writer wait a little:
/// under a steady stream of commits a passive checkpoint never catches up with its end.
const RESTART_AT: i64 = 16 * 1024;
/// A log of this length, in pages, is cut to nothing when the store rests.
const CUT_AT: i64 = 1024;

/// The checkpointer's thread. Dropping it makes a last checkpoint.
pub(super) struct Checkpointer {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

/// How the writer tells the checkpointer that there is something to do.
#[derive(Default)]
pub(super) struct Signal {
    flags: Mutex<Flags>,
    changed: Condvar,
}

#[derive(Default)]
struct Flags {
    committed: bool,
    /// The checkpointer wants the log to itself for a moment.
    paused: bool,
    stop: bool,
}

/// Why the checkpointer woke.
enum Woken {
    Committed,
    Rested,
    Stopped,
}

impl Signal {
    /// Something was committed.
    pub(super) fn committed(&self) {
        let mut flags = self.flags();
        if !flags.committed {
            flags.committed = true;
            self.changed.notify_all();
        }
    }

    /// Waits until a transaction may begin.
    pub(super) fn until_writable(&self) {
        let waited = self.changed.wait_while(self.flags(), |flags| flags.paused);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Holds the next transaction up, or no longer. Without this the writer, which begins again as soon as it
    /// has committed, would never leave the lock to the checkpointer.
    fn pause(&self, paused: bool) {
        self.flags().paused = paused;
        self.changed.notify_all();
    }

    fn flags(&self) -> MutexGuard<'_, Flags> {
        self.flags.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a commit, at most so long if there is a limit.
    fn wait(&self, limit: Option<Duration>) -> Woken {
        let idle = |flags: &mut Flags| !flags.committed && !flags.stop;
        let flags = match limit {
            Some(limit) => {
                let waited = self.changed.wait_timeout_while(self.flags(), limit, idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.changed.wait_while(self.flags(), idle).unwrap_or_else(PoisonError::into_inner),
        };
        match *flags {
            Flags { stop: true, .. } => Woken::Stopped,
            Flags { committed: true, .. } => Woken::Committed,
            _ => Woken::Rested,
        }
    }

    /// Lets commits gather; says whether to go on.
    fn gather(&self) -> bool {
        let waited = self.changed.wait_timeout_while(self.flags(), INTERVAL, |flags| !flags.stop);
        let mut flags = waited.unwrap_or_else(PoisonError::into_inner).0;
        flags.committed = false;
        !flags.stop
    }
}

impl Checkpointer {
    /// Starts it.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(super) fn start(conn: Connection) -> std::io::Result<Self> {
        let signal = Arc::new(Signal::default());
        let heard = Arc::clone(&signal);
        let thread = std::thread::Builder::new().name("store-checkpoint".into()).spawn(move || run(&conn, &heard))?;
        Ok(Self { signal, thread: Some(thread) })
    }

    /// What the writer signals with.
    pub(super) fn signal(&self) -> Arc<Signal> {
        Arc::clone(&self.signal)
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.signal.flags().stop = true;
        self.signal.changed.notify_all();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the store's checkpointer had panicked");
        }
    }
}

fn run(conn: &Connection, signal: &Signal) {
    let (mut length, mut restart_at) = (0, RESTART_AT);
    loop {
        match signal.wait((length >= CUT_AT).then_some(REST)) {
            Woken::Stopped => break,
            Woken::Rested => length = checkpoint(conn, "TRUNCATE").length,
            Woken::Committed => {
                if !signal.gather() {
                    break;
                }
                length = checkpoint(conn, "PASSIVE").length;
                if length >= restart_at {
                    // What has come meanwhile is moved too, so that little is left when the writer must wait.
                    checkpoint(conn, "PASSIVE");
                    signal.pause(true);
                    let restarted = checkpoint(conn, "RESTART");
                    signal.pause(false);
                    // A backup reads from the log for as long as it takes: the writer must not wait for it again
                    // and again.
                    restart_at = if restarted.is_cut_short { length + RESTART_AT } else { RESTART_AT };
                }
            }
        }
    }
    checkpoint(conn, "TRUNCATE");
}

/// What a checkpoint came to.
#[derive(Default)]
struct Checkpoint {
    /// Somebody was reading from the log, so that not all of it was done.
    is_cut_short: bool,
    /// The log's length in pages.
    length: i64,
}

/// Makes a checkpoint. One that fails is made again later: the log keeps everything.
fn checkpoint(conn: &Connection, mode: &str) -> Checkpoint {
    let made = conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        Ok(Checkpoint { is_cut_short: row.get(0)?, length: row.get(1)? })
    });
    made.map_err(Fault::from).unwrap_or_else(|fault| {
        stop_if_the_disk_failed(&fault);
        tracing::warn!(error = %fault, "a checkpoint of the database failed and will be tried again");
        Checkpoint::default()
    })
}
