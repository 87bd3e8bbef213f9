//! Trials on all processors.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use swsync_cli::output;

/// The results of `trial` for 0 to `count - 1`, in that order, so that no figure depends on the threads.
pub fn trials<T: Send>(what: &str, count: usize, trial: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(count)));
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                break;
            }
            output::status_line(&format!("{what}: {} of {count}", index + 1));
            let result = trial(index);
            done.lock().push((index, result));
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(count);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().for_each(|worker| worker.join().expect("no trial panics"));
    });
    output::status_line("");
    let mut done = done.into_inner();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn results_are_in_order() {
        assert_eq!(super::trials("squares", 5, |index| index * index), [0, 1, 4, 9, 16]);
        assert!(super::trials("nothing", 0, |index| index).is_empty());
    }
}
