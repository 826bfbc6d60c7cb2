//! Where page tables come from. To map something must not fail in the middle, so as many tables as it can need are set
//! aside first.

use super::layout::{self, BLOCK_SIZE, PAGE_SIZE};
use super::{frames, image_end, owner};
use aarch64_paging::descriptor::{El1Attributes, PhysicalAddress};
use aarch64_paging::paging::{PageTable, Translation};
use abi::sync::Lock;
use abi::{Error, Result};
use core::ops::Range;
use core::ptr::{NonNull, null_mut};
use heap::Owner;

type Table = PageTable<El1Attributes>;

/// Pages that are set aside, each of which begins with the address of the next.
struct Stock {
    first: *mut *mut u8,
    count: usize,
}

// SAFETY: the pages belong to the stock, whoever has it.
unsafe impl Send for Stock {}

static STOCK: Lock<Stock> = Lock::new(Stock { first: null_mut(), count: 0 });

impl Stock {
    fn put(&mut self, page: NonNull<u8>) {
        // SAFETY: the page is the caller's, who gives it away.
        unsafe { page.cast().write(self.first) };
        self.first = page.as_ptr().cast();
        self.count += 1;
    }

    fn take(&mut self) -> Option<NonNull<u8>> {
        let page = NonNull::new(self.first)?;
        // SAFETY: a page in stock begins with the next one's address.
        self.first = unsafe { page.read() }.cast();
        self.count -= 1;
        Some(page.cast())
    }
}

/// Sets aside what mapping `place` to `physical` can need.
///
/// # Errors
/// [`Error::OutOfMemory`] when the running thread's owner can't have that much.
pub fn prepare(place: &Range<usize>, physical: usize) -> Result<()> {
    const LEVEL_2: usize = BLOCK_SIZE << 9;
    let tables = |size: usize| place.end.div_ceil(size) - place.start / size;
    // Where whole blocks can be mapped, only the ends need tables of pages.
    let congruent = (place.start ^ physical).is_multiple_of(BLOCK_SIZE);
    let pages = if congruent { tables(BLOCK_SIZE).min(2) } else { tables(BLOCK_SIZE) };
    let needed = pages + tables(LEVEL_2) + tables(LEVEL_2 << 9);
    let mut stock = STOCK.lock();
    while stock.count < needed {
        let page = frames::allocate(1, PAGE_SIZE, owner()).ok_or(Error::OutOfMemory(needed * PAGE_SIZE))?;
        frames::charge(1, owner(), Owner::KERNEL);
        stock.put(page);
    }
    Ok(())
}

/// The page tables, as the crate that fills them reaches them.
pub struct Tables;

impl Translation<El1Attributes> for Tables {
    fn allocate_table(&mut self) -> (NonNull<Table>, PhysicalAddress) {
        let page = STOCK.lock().take().or_else(|| frames::allocate(1, PAGE_SIZE, Owner::KERNEL));
        // The first tables are made before there are frames; the heap has early memory then.
        let table = page.unwrap_or_else(|| Table::new().cast());
        // SAFETY: a page that nobody else has.
        unsafe { table.write_bytes(0, PAGE_SIZE) };
        (table.cast(), PhysicalAddress(layout::physical(table.as_ptr() as usize)))
    }

    unsafe fn deallocate_table(&mut self, table: NonNull<Table>) {
        STOCK.lock().put(table.cast());
    }

    fn physical_to_virtual(&self, address: PhysicalAddress) -> NonNull<Table> {
        // The heap's first piece is part of the image, which the linear map leaves out.
        let image = layout::physical(layout::image())..layout::physical(image_end());
        let place = match image.contains(&address.0) {
            true => address.0 - image.start + layout::image(),
            false => layout::linear(address.0),
        };
        match NonNull::new(place as *mut _) {
            Some(table) => table,
            None => unreachable!("the upper half has no address 0"),
        }
    }
}
