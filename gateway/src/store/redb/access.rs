//! On which thread what is read and written.

use std::{future::ready, sync::Arc};

use ::redb::{ReadTransaction, WriteTransaction};

use super::{
    RedbStore,
    file::Opened,
    memory::Memory,
    writer::{Done, Writer},
};
use crate::store::{StoreError, Stored};

impl RedbStore {
    pub(super) fn over(file: Opened) -> Result<Self, StoreError> {
        let (file, memory) = (Arc::new(file), Arc::new(Memory::new()));
        memory.load(&*file.database()?)?;
        let writer = Writer::start(Arc::clone(&file), Arc::clone(&memory))?;
        Ok(Self { memory, file, writer })
    }

    /// Reads one record or a few, here and now.
    pub(super) fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Stored<'_, T> {
        Box::pin(ready(self.file.read(read)))
    }

    /// Reads many records, on a blocking thread.
    pub(super) fn read_many<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, StoreError> + Send + 'static,
    ) -> Stored<'_, T> {
        let file = Arc::clone(&self.file);
        self.blocking("read", move || file.read(read))
    }

    pub(super) fn blocking<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Stored<'_, T> {
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(work).await;
            done.map_err(|e| StoreError::Failed { doing, reason: e.to_string() })?
        })
    }

    pub(super) fn write<T: Send + 'static>(
        &self,
        run: impl Fn(&WriteTransaction) -> Result<Done<T>, StoreError> + Send + 'static,
    ) -> Stored<'_, T> {
        Box::pin(self.writer.write(true, run))
    }

    /// Writes what can be computed again: a crash may lose it.
    pub(super) fn write_soon<T: Send + 'static>(
        &self,
        run: impl Fn(&WriteTransaction) -> Result<Done<T>, StoreError> + Send + 'static,
    ) -> Stored<'_, T> {
        Box::pin(self.writer.write(false, run))
    }
}
