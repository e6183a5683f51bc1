//! What all streams together may hold in memory: the more of them there are, the less is read of each at a time.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Streams that are open at the moment, and the bytes that one reads at a time. Clones count the same streams.
#[derive(Debug, Clone)]
pub(super) struct Share {
    open: Arc<AtomicU64>,
    /// About what all together hold.
    held: u64,
    /// One read, at least and at most.
    piece: (u64, u64),
}

/// A stream that is open until this is dropped.
#[derive(Debug)]
pub(super) struct Open(Share);

impl Share {
    /// Nobody has a part of so many bytes yet. A part is never smaller nor larger than a piece may be.
    pub(super) fn new(held: u64, piece: (u64, u64)) -> Self {
        Self { open: Arc::default(), held, piece }
    }

    /// Counts one more stream.
    pub(super) fn open(&self) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(self.clone())
    }

    /// Bytes to read of a stream at a time, now.
    pub(super) fn piece(&self) -> u64 {
        let (least, most) = self.piece;
        let part = self.held.checked_div(self.open.load(Ordering::Relaxed)).unwrap_or(self.held);
        part.max(least).min(most)
    }
}

impl Open {
    /// Bytes to read at a time, now.
    pub(super) fn piece(&self) -> u64 {
        self.0.piece()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_streams_hold_no_more_than_few() {
        let share = Share::new(1000, (10, 400));
        assert_eq!(share.piece(), 400);
        let few: Vec<Open> = (0..4).map(|_| share.open()).collect();
        assert_eq!(share.clone().piece(), 250);
        let many: Vec<Open> = (0..996).map(|_| share.open()).collect();
        assert_eq!(share.piece(), 10);
        drop(few);
        drop(many);
        assert_eq!(share.piece(), 400);
    }
}
