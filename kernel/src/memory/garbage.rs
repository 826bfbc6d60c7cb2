//! Taking back what a provider that is no more has left on the heap.

use super::layout::{LINEAR, stack_of};
use super::{heap, image_data, owner_of, space};
use crate::{processor, thread};
use ::heap::{Collected, Roots};
use abi::registry::ProviderId;
use alloc::vec::Vec;
use core::ops::Range;

/// Where addresses of what is on the heap may be, outside of it: the variables of the kernel and of modules, and stacks.
struct Places(Vec<Range<usize>>);

// SAFETY: the variables of the image and of loaded modules, and stacks from their pointer on, are mapped; `collect`'s caller
// lets nothing else run.
unsafe impl Roots for Places {
    fn each(&self, visit: &mut dyn FnMut(Range<*const u8>)) {
        self.0.iter().for_each(|place| visit(place.start as *const u8..place.end as *const u8));
    }
}

/// Frees all that was allocated on behalf of `dead` and that nothing refers to any more. What something refers to
/// stays the provider's. None when there is no memory for that; then nothing has happened.
///
/// To be called with no lock held.
///
/// # Safety
/// What `dead` ran must be gone: its objects, threads, interrupt handlers.
pub unsafe fn collect(dead: ProviderId) -> Option<Collected> {
    with_places(|places| {
        // SAFETY: interrupts are masked, and the other processors stand still. Addresses are kept in aligned words: page
        // tables, which have others, aren't on the heap after boot; DMA memory has no references in it.
        unsafe { heap::collect(owner_of(dead), places) }
    })
}

/// Notes which of these pieces of physical memory, in the order of their addresses, anything seems to refer to by an address
/// in the linear map.
///
/// To be called with no lock held.
pub fn find_in_use(pieces: &mut [(Range<usize>, bool)]) {
    let (Some((first, _)), Some((last, _))) = (pieces.first(), pieces.last()) else { return };
    let span = first.start..last.end;
    with_places(|places| {
        // SAFETY: as above; nothing is allocated.
        unsafe {
            heap::each_word(places, |word| {
                let address = word.wrapping_sub(LINEAR);
                // That is what most words are.
                if !span.contains(&address) {
                    return;
                }
                let behind = pieces.partition_point(|(piece, _)| piece.start <= address);
                if let Some((piece, is_in_use)) = behind.checked_sub(1).and_then(|index| pieces.get_mut(index)) {
                    *is_in_use |= piece.contains(&address);
                }
            });
        }
    });
}

/// Has nothing else run while `action` looks at the places where addresses may be.
fn with_places<R>(action: impl FnOnce(&Places) -> R) -> R {
    processor::clear_unused_stack();
    let _others = processor::pause_others();
    let mut places: Vec<Range<usize>> = image_data().into();
    places.extend(space::module_variables());
    places.extend(thread::suspended_stacks());
    // What a caller keeps in registers (AAPCS64, section 6.1.1) may be nowhere else.
    let registers = callee_saved();
    let here = &raw const registers as usize;
    places.push(here..stack_of(here).map_or(here, |stack| stack.end));
    let result = below(action, &Places(places));
    core::hint::black_box(registers);
    // Nor is what it has seen itself to be found the next time.
    processor::clear_unused_stack();
    result
}

/// Calls `action` with frames of its own, where nobody looks: it has addresses of all that may be garbage.
#[inline(never)]
fn below<R>(action: impl FnOnce(&Places) -> R, places: &Places) -> R {
    action(places)
}

/// x19 to x30.
#[inline(always)]
fn callee_saved() -> [usize; 12] {
    let mut registers = [0; 12];
    // SAFETY: stores into the array, which has room for twelve registers.
    unsafe {
        core::arch::asm!(
            "stp x19, x20, [{0}]",
            "stp x21, x22, [{0}, #16]",
            "stp x23, x24, [{0}, #32]",
            "stp x25, x26, [{0}, #48]",
            "stp x27, x28, [{0}, #64]",
            "stp x29, x30, [{0}, #80]",
            in(reg) &raw mut registers,
            options(nostack, preserves_flags)
        );
    }
    registers
}
