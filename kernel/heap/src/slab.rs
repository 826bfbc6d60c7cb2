//! Slabs: pages that hold pieces of one size. The tags that say who holds them stand together at the beginning.

use crate::class::Class;
use crate::{Owner, PAGE};
use core::ptr::{self, NonNull, null_mut};
use core::sync::atomic::AtomicU16;

/// Bytes in a slab, and its alignment.
pub(crate) const SLAB: usize = 4 * PAGE;

/// The head of a slab. A tag for each piece follows it; pieces whose place these take are never handed out.
#[repr(C)]
pub(crate) struct Slab {
    next: *mut Slab,
    previous: *mut Slab,
    /// Pieces that came back; each begins with the next one's address.
    free: *mut *mut u8,
    pub class: Class,
    /// To whom its pages are charged.
    pub charged: Owner,
    /// The first piece that was never handed out.
    fresh: u16,
    /// How many pieces are out, with their holders or in magazines.
    out: u16,
}

impl Slab {
    /// Makes pages a slab.
    ///
    /// # Safety
    /// They must be as many as a slab has, aligned to that, and the caller's.
    pub unsafe fn new(pages: NonNull<u8>, class: Class, charged: Owner) -> NonNull<Self> {
        let slab = pages.cast::<Self>();
        let head = Self {
            next: null_mut(),
            previous: null_mut(),
            free: null_mut(),
            class,
            charged,
            fresh: Self::first_piece(class) as u16,
            out: 0,
        };
        // SAFETY: the pages are the caller's, and the head and the tags lie before the first piece.
        unsafe {
            slab.write(head);
            let tags = slab.add(1).cast::<AtomicU16>();
            (0..Self::pieces(class)).for_each(|piece| tags.add(piece).write(AtomicU16::new(Owner::FREE.0)));
        }
        slab
    }

    /// How many pieces fit into a slab, those included that the head and the tags take the place of.
    pub fn pieces(class: Class) -> usize {
        SLAB / class.size()
    }

    /// The first piece that is handed out.
    pub fn first_piece(class: Class) -> usize {
        (size_of::<Self>() + Self::pieces(class) * size_of::<AtomicU16>()).div_ceil(class.size())
    }

    /// The slab that a piece lies in.
    #[inline]
    pub fn of(piece: NonNull<u8>) -> NonNull<Self> {
        // SAFETY: no slab begins at address 0.
        unsafe { NonNull::new_unchecked(piece.as_ptr().map_addr(|address| address & !(SLAB - 1)).cast()) }
    }

    /// Whom a piece belongs to.
    ///
    /// # Safety
    /// `piece` must be the address of one in a slab of that class.
    #[inline]
    pub unsafe fn tag_of<'a>(piece: NonNull<u8>, class: Class) -> &'a AtomicU16 {
        let index = class.piece_at(piece.addr().get() % SLAB);
        // SAFETY: the slab is there as long as a piece of it is out.
        unsafe { Self::tag(Self::of(piece), index) }
    }

    /// Whom piece number `index` belongs to.
    ///
    /// # Safety
    /// The slab must have that many pieces, and stay as long as the tag is used.
    #[inline]
    pub unsafe fn tag<'a>(slab: NonNull<Self>, index: usize) -> &'a AtomicU16 {
        // SAFETY: the tags follow the head, one for each piece, and are only used as atomics.
        unsafe { slab.add(1).cast::<AtomicU16>().add(index).as_ref() }
    }

    /// The pieces that have ever been handed out.
    pub fn used(&self) -> core::ops::Range<usize> {
        Self::first_piece(self.class)..usize::from(self.fresh)
    }

    /// Whether no piece is out.
    pub fn is_empty(&self) -> bool {
        self.out == 0
    }

    /// Whether all pieces are out.
    pub fn is_full(&self) -> bool {
        self.free.is_null() && usize::from(self.fresh) == Self::pieces(self.class)
    }

    /// How many pieces are out.
    pub fn out(&self) -> usize {
        usize::from(self.out)
    }

    /// The address of piece number `index`.
    ///
    /// # Safety
    /// The slab must have that many.
    pub unsafe fn piece(slab: NonNull<Self>, index: usize) -> NonNull<u8> {
        // SAFETY: the caller says that it lies in the slab; classes don't change.
        unsafe { slab.cast::<u8>().add(index * (*slab.as_ptr()).class.size()) }
    }

    /// Takes a piece out.
    ///
    /// # Safety
    /// The slab must be the caller's alone, but for tags and pieces that are out.
    pub unsafe fn take(slab: NonNull<Self>) -> Option<NonNull<u8>> {
        // SAFETY: the caller's obligation; what is in the list are pieces of this slab that are not out, and each begins
        // with the next one's address.
        unsafe {
            let head = &mut *slab.as_ptr();
            let piece = match NonNull::new(head.free) {
                Some(piece) => {
                    head.free = piece.read().cast();
                    piece.cast()
                }
                None if head.is_full() => return None,
                None => {
                    head.fresh += 1;
                    Self::piece(slab, usize::from(head.fresh) - 1)
                }
            };
            head.out += 1;
            Some(piece)
        }
    }

    /// Puts a piece back.
    ///
    /// # Safety
    /// As for [`take`](Self::take); the piece must be one of this slab that is out, and nobody's.
    pub unsafe fn put(slab: NonNull<Self>, piece: NonNull<u8>) {
        // SAFETY: the caller's obligation; a piece has room for an address, and is aligned for it.
        unsafe {
            let head = &mut *slab.as_ptr();
            piece.cast::<*mut u8>().write(head.free.cast());
            head.free = piece.as_ptr().cast();
            head.out -= 1;
        }
    }
}

/// Slabs in a list, linked through their heads.
pub(crate) struct List(*mut Slab);

impl List {
    pub const EMPTY: Self = Self(null_mut());

    /// The first.
    pub fn first(&self) -> Option<NonNull<Slab>> {
        NonNull::new(self.0)
    }

    /// Puts a slab in front.
    ///
    /// # Safety
    /// The slab and the list must be the caller's alone, and the slab be in no list.
    pub unsafe fn insert(&mut self, slab: NonNull<Slab>) {
        // SAFETY: the caller's obligation.
        unsafe {
            (*slab.as_ptr()).previous = null_mut();
            (*slab.as_ptr()).next = self.0;
            if let Some(next) = self.first() {
                (*next.as_ptr()).previous = slab.as_ptr();
            }
        }
        self.0 = slab.as_ptr();
    }

    /// Takes a slab out.
    ///
    /// # Safety
    /// The slab must be in this list, and the list the caller's alone.
    pub unsafe fn remove(&mut self, slab: NonNull<Slab>) {
        // SAFETY: the caller's obligation; the neighbours are in the same list.
        unsafe {
            let (previous, next) = ((*slab.as_ptr()).previous, (*slab.as_ptr()).next);
            match previous.is_null() {
                true => self.0 = next,
                false => (*previous).next = next,
            }
            if !next.is_null() {
                (*next).previous = previous;
            }
        }
    }

    /// All of them.
    ///
    /// # Safety
    /// The list must be the caller's alone meanwhile.
    pub unsafe fn iter(&self) -> impl Iterator<Item = NonNull<Slab>> + use<> {
        let mut next = self.0;
        core::iter::from_fn(move || {
            let slab = NonNull::new(next)?;
            // SAFETY: the caller's obligation: all that are in the list are slabs.
            next = unsafe { ptr::addr_of!((*next).next).read() };
            Some(slab)
        })
    }
}
