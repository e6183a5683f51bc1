use std::{
    io,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use ::redb::{StorageBackend, backends::InMemoryBackend};

use super::*;

/// A disk that can be full.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<(Mutex<Option<Arc<InMemoryBackend>>>, AtomicBool)>);

impl Disk {
    fn memory(&self) -> Arc<InMemoryBackend> {
        Arc::clone(self.0.0.lock().unwrap().get_or_insert_with(|| Arc::new(InMemoryBackend::new())))
    }

    fn fill(&self, full: bool) {
        self.0.1.store(full, Ordering::SeqCst);
    }

    fn room(&self) -> io::Result<()> {
        if self.0.1.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        self.memory().len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.memory().read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.room()?;
        self.memory().set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.room()?;
        self.memory().sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.room()?;
        self.memory().write(offset, data)
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_got_over() {
    let disk = Disk::default();
    let opened = {
        let disk = disk.clone();
        Opened::with("memory".to_owned(), Box::new(move || file::builder().create_with_backend(disk.clone())))
    };
    let store = RedbStore::over(opened.unwrap()).unwrap();
    store.add_token(token("acme", "before"), by(0)).await.unwrap();
    disk.fill(true);
    assert!(matches!(store.add_token(token("acme", "during"), by(0)).await, Err(StoreError::Full)));
    assert_eq!(store.token_by_secret(token("acme", "during").secret).await.unwrap(), None);
    assert!(store.add_token(token("acme", "still"), by(0)).await.is_err());
    disk.fill(false);
    // The next operation may meet the closed file and opens it; the one after it is written.
    drop(store.add_token(token("acme", "again"), by(0)).await);
    store.add_token(token("acme", "after"), by(0)).await.unwrap();
    let kept: Vec<_> = store.tokens(&name("acme")).await.unwrap().into_iter().map(|t| t.id).collect();
    assert!(kept.contains(&"before".to_owned()) && kept.contains(&"after".to_owned()), "{kept:?}");
    assert!(!kept.contains(&"during".to_owned()), "{kept:?}");
}
