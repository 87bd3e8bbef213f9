//! Counts the memory that a parser takes.

#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes that this thread has allocated and not freed, and the most since [`peak`] began.
    static ALLOCATED: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

struct Counting;

impl Counting {
    fn add(bytes: usize) {
        // The counter is gone while its thread ends.
        let _ = ALLOCATED.try_with(|allocated| {
            let (now, most) = allocated.get();
            let now = now.wrapping_add(bytes);
            allocated.set((now, most.max(now)));
        });
    }

    fn subtract(bytes: usize) {
        let _ = ALLOCATED.try_with(|allocated| {
            let (now, most) = allocated.get();
            // What another thread allocated may be freed here.
            allocated.set((now.saturating_sub(bytes), most));
        });
    }
}

// SAFETY: every call is forwarded to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::add(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::subtract(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // The old and the new block may exist at the same time.
        Self::add(size);
        Self::subtract(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `parse` returns, and the most bytes that it had allocated at once.
pub fn peak<R>(parse: impl FnOnce() -> R) -> (R, usize) {
    let before = ALLOCATED.with(|allocated| {
        let (now, _) = allocated.get();
        allocated.set((now, now));
        now
    });
    let result = parse();
    (result, ALLOCATED.with(Cell::get).1 - before)
}

/// What `parse` returns for `bytes`, if it takes at most 64 KiB and `factor` times as many bytes as they have.
///
/// # Panics
/// If it takes more.
pub fn within<'a, R>(bytes: &'a [u8], factor: usize, parse: impl FnOnce(&'a [u8]) -> R) -> R {
    let (result, taken) = peak(|| parse(bytes));
    let most = (64 << 10) + factor * bytes.len();
    assert!(
        taken <= most,
        "{taken} bytes were allocated for an input of {}: {most} are allowed",
        bytes.len()
    );
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_counted_and_not_the_sum() {
        let (sum, taken) = peak(|| {
            let first = vec![1_u8; 1_000].len();
            first + vec![1_u8; 3_000].len()
        });
        assert_eq!((sum, taken), (4_000, 3_000));
    }

    #[test]
    #[should_panic(expected = "bytes were allocated")]
    fn a_parser_that_takes_too_much_is_found() {
        within(&[0; 10], 4, |_| vec![0_u8; 100_000].len());
    }
}
