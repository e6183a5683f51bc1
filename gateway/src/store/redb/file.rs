//! The open database. One process has it; after a failed disk it is opened again in place.

use std::{
    fs, io,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use redb::{Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase};

use super::tables::{self, FORMAT, META, OLDEST, WRITTEN_BY, every_table, unread, unwritten};
use crate::store::StoreError;

/// Memory for pages of the state file.
const CACHE_BYTES: usize = 64 * 1024 * 1024;
/// Told to those who cannot read the file.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How long readers may take to let go of a failed database.
const PATIENCE: Duration = Duration::from_secs(10);

type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

pub(super) struct Opened {
    path: String,
    open: Opener,
    database: RwLock<Option<Arc<Database>>>,
}

impl Opened {
    /// Opens the file, made with mode 0600 when it is not there.
    pub(super) fn at(path: &Path) -> Result<Self, StoreError> {
        let unopened =
            |e: io::Error| StoreError::Failed { doing: "opened", reason: format!("`{}`: {e}", path.display()) };
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            private_folder(folder).map_err(unopened)?;
        }
        private_file(path).map_err(unopened)?;
        let file = path.to_owned();
        Self::with(path.display().to_string(), Box::new(move || builder().create(&file)))
    }

    pub(super) fn with(path: String, open: Opener) -> Result<Self, StoreError> {
        let opened = Self { path, open, database: RwLock::new(None) };
        opened.reopen()?;
        Ok(opened)
    }

    pub(super) fn database(&self) -> Result<Arc<Database>, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        database.clone().ok_or_else(|| StoreError::Failed { doing: "read", reason: "its file is closed".to_owned() })
    }

    /// Reads in one consistent transaction. The database is held for as long, so that it is not closed meanwhile.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let database = self.database()?;
        let tx = database.begin_read().map_err(unread)?;
        read(&tx)
    }

    /// Whether an earlier failure of the disk stands in the way of everything.
    pub(super) fn broken(&self) -> bool {
        self.read(|tx| tx.open_table(META).map(drop).map_err(unread)).is_err()
            || self.database().is_ok_and(|d| d.begin_write().and_then(|tx| Ok(tx.abort()?)).is_err())
    }

    pub(super) fn close(&self) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Closes the database if it is open and opens it anew.
    pub(super) fn reopen(&self) -> Result<Arc<Database>, StoreError> {
        let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = slot.take() {
            let mut waited = Duration::ZERO;
            while Arc::strong_count(&old) > 1 && waited < PATIENCE {
                let step = Duration::from_millis(5);
                std::thread::sleep(step);
                waited += step;
            }
            drop(old);
        }
        let database = (self.open)().map_err(|error| self.unopened(error))?;
        make_tables(&database, &self.path)?;
        let database = Arc::new(database);
        *slot = Some(Arc::clone(&database));
        Ok(database)
    }

    fn unopened(&self, error: DatabaseError) -> StoreError {
        match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: self.path.clone() },
            other => StoreError::Failed { doing: "opened", reason: format!("`{}`: {other}", self.path) },
        }
    }
}

pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn make_tables(database: &Database, path: &str) -> Result<(), StoreError> {
    let (format, by) = {
        let tx = database.begin_read().map_err(unread)?;
        let format = match tx.open_table(META) {
            Ok(table) => table.get("format").map_err(unread)?.map(|f| f.value()),
            Err(redb::TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(unread(error)),
        };
        let by = match tx.open_table(WRITTEN_BY) {
            Ok(table) => table.get("program").map_err(unread)?.map(|by| shown(by.value())),
            // Layouts before 14 do not tell.
            Err(redb::TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(unread(error)),
        };
        (format, by)
    };
    match format {
        Some(FORMAT) if by.as_deref() == Some(VERSION) => return Ok(()),
        Some(OLDEST..=FORMAT) | None => {}
        Some(found) => return Err(StoreError::Layout { path: path.to_owned(), found, by }),
    }
    let tx = database.begin_write().map_err(unwritten)?;
    macro_rules! make {
        ($($table:ident),+) => { $(tx.open_table(tables::$table).map_err(unwritten)?;)+ };
    }
    every_table!(make);
    tx.open_table(META).map_err(unwritten)?.insert("format", FORMAT).map_err(unwritten)?;
    tx.open_table(WRITTEN_BY).map_err(unwritten)?.insert("program", VERSION).map_err(unwritten)?;
    tx.commit().map_err(unwritten)?;
    if let Some(before) = format.filter(|before| *before != FORMAT) {
        tracing::warn!(
            file = path,
            before,
            now = FORMAT,
            "the state file was taken over from an older layout: versions before this one do not open it any more"
        );
    }
    Ok(())
}

/// What a file says of itself, harmless and not too long.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

/// Writes a consistent copy to a new file.
pub(super) fn copy(from: &Opened, to: &Path) -> Result<(), StoreError> {
    let failed = |reason: String| StoreError::Failed { doing: "copied", reason };
    if to.exists() {
        return Err(failed(format!("`{}` is there already", to.display())));
    }
    private_file(to).map_err(|e| failed(format!("`{}`: {e}", to.display())))?;
    let copied = from.read(|tx| {
        let target = builder().create(to).map_err(unwritten)?;
        let into = target.begin_write().map_err(unwritten)?;
        macro_rules! copy {
            ($($table:ident),+) => { $({
                let source = tx.open_table(tables::$table).map_err(unread)?;
                let mut target = into.open_table(tables::$table).map_err(unwritten)?;
                for row in redb::ReadableTable::iter(&source).map_err(unread)? {
                    let (key, value) = row.map_err(unread)?;
                    target.insert(key.value(), value.value()).map_err(unwritten)?;
                }
            })+ };
        }
        every_table!(copy);
        into.commit().map_err(unwritten)
    });
    if copied.is_err() {
        drop(fs::remove_file(to));
    }
    copied
}

fn private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn private_file(path: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}
