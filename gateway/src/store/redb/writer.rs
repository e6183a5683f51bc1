//! The one thread that writes. It takes what waits, up to [`BATCH`] operations, into one transaction, commits,
//! raises the change numbers, and only then answers. An operation that fails is left out and the others are tried
//! again without it, so one caller's failure is never another's.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::JoinHandle,
};

use redb::{Durability, WriteTransaction};
use tokio::sync::{mpsc, oneshot};

use super::{
    file::Opened,
    memory::{Effect, Memory},
    tables::unwritten,
};
use crate::store::StoreError;

/// Operations in one transaction.
const BATCH: usize = 256;
/// Operations that may wait before callers have to.
const QUEUE: usize = 1024;
/// Transactions that may be lost in a crash before one is made durable all the same: the file cannot reuse the
/// pages they free.
const UNSYNCED: u32 = 256;

/// An operation's answer, and what it changes in memory once it is durable.
pub(super) struct Done<T> {
    pub(super) answer: T,
    pub(super) effects: Vec<Effect>,
}

impl<T> Done<T> {
    pub(super) fn unchanged(answer: T) -> Self {
        Self { answer, effects: Vec::new() }
    }
}

trait Operation: Send {
    fn durable(&self) -> bool;
    fn apply(&mut self, tx: &WriteTransaction) -> Result<(), StoreError>;
    fn finish(self: Box<Self>, committed: Result<(), StoreError>, memory: &Memory);
}

struct Job<T, F> {
    durable: bool,
    run: F,
    done: Option<Done<T>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Operation for Job<T, F>
where
    T: Send,
    F: Fn(&WriteTransaction) -> Result<Done<T>, StoreError> + Send,
{
    fn durable(&self) -> bool {
        self.durable
    }

    fn apply(&mut self, tx: &WriteTransaction) -> Result<(), StoreError> {
        let run = catch_unwind(AssertUnwindSafe(|| (self.run)(tx)));
        self.done = Some(run.map_err(|_| StoreError::Failed { doing: "written", reason: "it panicked".into() })??);
        Ok(())
    }

    fn finish(self: Box<Self>, committed: Result<(), StoreError>, memory: &Memory) {
        let answer = match (committed, self.done) {
            (Ok(()), Some(done)) => {
                memory.raise(done.effects);
                Ok(done.answer)
            }
            (Ok(()), None) => Err(stopped()),
            (Err(error), _) => Err(error),
        };
        // The caller may have gone away; what was committed stays.
        drop(self.reply.send(answer));
    }
}

/// The way to the writing thread. Dropping it writes what waits and waits for the end.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Operation>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(file: Arc<Opened>, memory: Arc<Memory>) -> Result<Self, StoreError> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("sluice-writer".to_owned())
            .spawn(move || run(&file, &memory, waiting))
            .map_err(|e| StoreError::Failed { doing: "opened", reason: e.to_string() })?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Runs the operation in a transaction. It may run more than once, in transactions of which only the last
    /// is committed; it must do all that can fail by what the records say before it writes anything.
    pub(super) async fn write<T, F>(&self, durable: bool, run: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&WriteTransaction) -> Result<Done<T>, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(Box::new(Job { durable, run, done: None, reply })).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Leaves an operation to be done with what comes next, when there is room for it; nobody is told what became of it.
    pub(super) fn offer<F>(&self, run: F) -> bool
    where
        F: Fn(&WriteTransaction) -> Result<Done<()>, StoreError> + Send + 'static,
    {
        let (reply, _) = oneshot::channel();
        let job = Box::new(Job { durable: false, run, done: None, reply });
        self.queue.as_ref().is_some_and(|queue| queue.try_send(job).is_ok())
    }

    pub(super) fn alive(&self) -> bool {
        self.queue.as_ref().is_some_and(|q| !q.is_closed())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the state panicked");
        }
    }
}

fn stopped() -> StoreError {
    StoreError::Failed { doing: "written", reason: "the thread that writes the state has stopped".to_owned() }
}

fn run(file: &Opened, memory: &Memory, mut waiting: mpsc::Receiver<Box<dyn Operation>>) {
    let mut unsynced = 0;
    while let Some(first) = waiting.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(next) = waiting.try_recv()
        {
            batch.push(next);
        }
        let durable = unsynced >= UNSYNCED || batch.iter().any(|op| op.durable());
        unsynced = if durable { 0 } else { unsynced + 1 };
        together(file, memory, batch, durable);
    }
    if unsynced > 0
        && let Err(error) = commit(file, &mut [], true)
    {
        tracing::warn!(%error, "verdicts of the last moments were not kept; they will be computed again");
    }
}

fn together(file: &Opened, memory: &Memory, mut batch: Vec<Box<dyn Operation>>, durable: bool) {
    match commit(file, &mut batch, durable) {
        Ok(()) => batch.into_iter().for_each(|op| op.finish(Ok(()), memory)),
        // Alone, an operation meets its own failure only.
        Err(_) if batch.len() > 1 => {
            for operation in batch {
                mend(file, memory);
                together(file, memory, vec![operation], durable);
            }
        }
        Err(error) => {
            tracing::error!(%error, "the state was not written");
            batch.into_iter().for_each(|op| op.finish(Err(error.clone()), memory));
            mend(file, memory);
        }
    }
}

/// After a failed disk the database refuses everything until it is opened again.
fn mend(file: &Opened, memory: &Memory) {
    if !file.broken() {
        return;
    }
    match file.reopen() {
        // What the failed commit reached is not known, so nothing remembered about it may stay.
        Ok(database) => match memory.load(&database) {
            Ok(()) => tracing::warn!("the state file was opened again after a failure"),
            Err(error) => {
                tracing::error!(%error, "the tokens could not be read again");
                file.close();
            }
        },
        Err(error) => tracing::error!(%error, "the state file could not be opened again"),
    }
}

fn commit(file: &Opened, batch: &mut [Box<dyn Operation>], durable: bool) -> Result<(), StoreError> {
    let database = file.database()?;
    let mut tx = database.begin_write().map_err(unwritten)?;
    if !durable {
        tx.set_durability(Durability::None)
            .map_err(|e| StoreError::Failed { doing: "written", reason: e.to_string() })?;
    }
    for operation in batch {
        // Dropping the transaction leaves everything as it was.
        operation.apply(&tx)?;
    }
    tx.commit().map_err(unwritten)
}
