//! How far something has come that takes long. Drawn on a terminal only, and only of what takes longer than a moment.

use std::{future::Future, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is done sooner needs no progress shown.
const PATIENCE: Duration = Duration::from_secs(1);

/// A bar over so many bytes, hidden until [`shown_while`] has waited.
pub fn over(bytes: u64, doing: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::hidden());
    let style = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(super::plain(doing));
    bar
}

/// Waits for what moves the bar, and takes the bar away when it is done.
pub async fn shown_while<T>(bar: &ProgressBar, doing: impl Future<Output = T>) -> T {
    tokio::pin!(doing);
    let done = tokio::select! {
        done = &mut doing => done,
        () = tokio::time::sleep(PATIENCE) => {
            bar.set_draw_target(ProgressDrawTarget::stderr());
            doing.await
        }
    };
    bar.finish_and_clear();
    done
}
