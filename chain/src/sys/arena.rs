//! Memory for a program that ends in an exec: it is taken from one block, piece after piece, and most of it is never
//! given back, which is work for nothing then. When the block is used up, the allocator of the system goes on.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};

/// Enough for hundreds of mounts; pages that are not touched cost nothing.
const SIZE: usize = 1 << 20;

/// Pages are what costs most, so the end of the block is used only for what fits in no part that was given back.
#[repr(C, align(4096))]
pub struct Arena {
    block: UnsafeCell<[u8; SIZE]>,
    /// Somebody is taking or giving back.
    busy: AtomicBool,
    /// What is free, from where to where: one part, and the end of the block.
    free: UnsafeCell<[(usize, usize); 2]>,
}

// SAFETY: a piece of the block is handed out once, and `free` is touched by who has set `busy` alone.
unsafe impl Sync for Arena {}

impl Default for Arena {
    fn default() -> Arena {
        Arena::new()
    }
}

impl Arena {
    /// With nothing taken: all of it zero, or the block would be in the binary.
    pub const fn new() -> Arena {
        Arena {
            block: UnsafeCell::new([0; SIZE]),
            busy: AtomicBool::new(false),
            free: UnsafeCell::new([(0, 0); 2]),
        }
    }

    /// Where in the block `piece` begins, if it is in there.
    fn place(&self, piece: *mut u8) -> Option<usize> {
        piece.addr().checked_sub(self.block.get().addr()).filter(|at| *at < SIZE)
    }

    /// Lets `change` look at what is free. None if another thread does so.
    fn with<T>(&self, change: impl FnOnce(&mut [(usize, usize); 2]) -> Option<T>) -> Option<T> {
        if self.busy.swap(true, Acquire) {
            return None;
        }
        // SAFETY: nobody else gets here before `busy` is taken back.
        let free = unsafe { &mut *self.free.get() };
        free[1].1 = SIZE;
        let done = change(free);
        self.busy.store(false, Release);
        done
    }

    fn take(&self, layout: Layout) -> Option<usize> {
        let align = alignment(layout.size(), layout.align());
        // The block is aligned to a page; what wants more goes elsewhere.
        let fits = align <= 4096;
        self.with(|free| {
            free.iter_mut().filter(|_| fits).find_map(|(from, end)| {
                let at = from.checked_next_multiple_of(align)?;
                *from = at.checked_add(layout.size()).filter(|after| *after <= *end)?;
                Some(at)
            })
        })
    }

    /// Takes back a piece: it lies before what is free, or is more than the part that was found free before.
    fn give(&self, at: usize, size: usize) {
        self.with(|free| {
            let part = free[0].1 - free[0].0;
            match free.iter_mut().find(|(from, _)| *from == at + size) {
                Some((from, _)) => *from = at,
                None if part < size => free[0] = (at, at + size),
                None => {}
            }
            Some(())
        });
    }

    /// Makes a piece longer where it is, if what is behind it is free.
    fn extend(&self, at: usize, old: usize, new: usize) -> bool {
        let longer = self.with(|free| {
            let (from, _) =
                free.iter_mut().find(|(from, end)| *from == at + old && at.saturating_add(new) <= *end)?;
            *from = at + new;
            Some(())
        });
        longer.is_some()
    }
}

/// As malloc(3) has it, whatever the type: a control message is put together in bytes and then looked at as a structure.
fn alignment(size: usize, align: usize) -> usize {
    if size < 16 { align } else { align.max(16) }
}

// SAFETY: every piece is aligned, as long as was asked, and nobody else's until it is given back; see `take`.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.take(layout) {
            Some(at) => self.block.get().cast::<u8>().wrapping_add(at),
            // SAFETY: the same promise, passed on.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        match self.place(piece) {
            Some(at) => self.give(at, layout.size()),
            // SAFETY: it is the system's, for it is not in the block.
            None => unsafe { System.dealloc(piece, layout) },
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(at) = self.place(piece) else {
            // SAFETY: as above.
            return unsafe { System.realloc(piece, layout, size) };
        };
        let aligned = at.is_multiple_of(alignment(size, layout.align()));
        if size <= layout.size() || aligned && self.extend(at, layout.size(), size) {
            return piece;
        }
        let Ok(longer) = Layout::from_size_align(size, layout.align()) else { return std::ptr::null_mut() };
        // SAFETY: `size` is not 0, or it would not be more than it was.
        let new = unsafe { self.alloc(longer) };
        if !new.is_null() {
            // SAFETY: two pieces, the new one longer than the old one.
            unsafe { std::ptr::copy_nonoverlapping(piece, new, layout.size()) };
            self.give(at, layout.size());
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn pieces_are_aligned_and_apart_and_what_is_given_back_is_used_again() {
        let arena = Box::new(Arena::new());
        let (a, b) = (arena.take(layout(3, 1)).unwrap(), arena.take(layout(100, 64)).unwrap());
        assert_eq!((a, b, arena.block.get().addr() % 4096), (0, 64, 0));
        assert_eq!(arena.take(layout(8, 8)), Some(168));
        arena.give(b, 100);
        // In the place of what was given back, then behind all.
        assert_eq!(arena.take(layout(96, 8)), Some(64));
        assert_eq!(arena.take(layout(8, 8)), Some(176));
        // The last one goes back to the end, and grows there.
        arena.give(176, 8);
        assert_eq!(arena.take(layout(16, 1)), Some(176), "as malloc aligns it");
        assert!(arena.extend(176, 16, 32) && !arena.extend(168, 8, 16));
        assert_eq!(arena.take(layout(1, 1)), Some(160));
        assert_eq!(arena.take(layout(8, 1)), Some(208));
    }

    #[test]
    fn what_does_not_fit_is_the_systems() {
        let arena = Box::new(Arena::new());
        for (size, ours) in [(SIZE + 1, false), (SIZE / 2, true), (SIZE / 2 - 8, true), (16, false)] {
            // SAFETY: the size is not 0, and what is the system's is given back as it was taken.
            let piece = unsafe { arena.alloc(layout(size, 8)) };
            assert!(!piece.is_null() && piece.addr().is_multiple_of(8));
            assert_eq!(arena.place(piece).is_some(), ours, "{size}");
            if !ours {
                // SAFETY: as above.
                unsafe { arena.dealloc(piece, layout(size, 8)) };
            }
        }
    }

    #[test]
    fn a_piece_that_grows_keeps_what_is_in_it() {
        let arena = Box::new(Arena::new());
        let text: Vec<u8> = (0..100).collect();
        // SAFETY: the size is not 0.
        let mut piece = unsafe { arena.alloc(layout(100, 1)) };
        // SAFETY: it is that long.
        unsafe { piece.copy_from(text.as_ptr(), 100) };
        assert_eq!(arena.take(layout(1, 1)), Some(100));
        // What was short and anywhere is where malloc would have it when it is longer.
        // SAFETY: the size is not 0.
        let short = unsafe { arena.alloc(layout(3, 1)) };
        // SAFETY: it was taken with that size.
        assert!(unsafe { arena.realloc(short, layout(3, 1), 24) }.addr().is_multiple_of(16));
        for (old, new) in [(100, 200), (200, 50), (50, SIZE + 1), (SIZE + 1, 60)] {
            // SAFETY: it was taken, or grew, with that size, and is not 0 long.
            piece = unsafe { arena.realloc(piece, layout(old, 1), new) };
            // SAFETY: never shorter than that.
            assert_eq!(unsafe { std::slice::from_raw_parts(piece, 50) }, &text[..50]);
        }
        // SAFETY: its last size.
        unsafe { arena.dealloc(piece, layout(60, 1)) };
    }
}
