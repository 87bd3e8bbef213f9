//! The same work on several devices at once.

use parking_lot::Mutex;

/// Runs `work` on each of `items`, in `parallel` threads. The results come in no particular order.
pub fn in_parallel<T: Send, R: Send>(
    parallel: u8,
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let queue = Mutex::new(items.into_iter().collect::<Vec<_>>().into_iter());
    let next = || queue.lock().next();
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..parallel {
            scope.spawn(|| {
                while let Some(item) = next() {
                    let result = work(item);
                    results.lock().push(result);
                }
            });
        }
    });
    results.into_inner()
}
