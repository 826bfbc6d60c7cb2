//! Commands about memory.

use super::Failure;
use crate::table::{Column, Table};
use crate::terminal::Terminal;
use abi::prelude::*;
use abi::system;

pub fn free(terminal: &mut Terminal, arguments: &[&str]) -> Result<(), Failure> {
    match arguments {
        [] => summary(terminal),
        ["-m"] => holders(terminal),
        _ => return Err(Failure::Usage),
    }
    Ok(())
}

fn kibibytes(bytes: u64) -> String {
    bytes.div_ceil(1024).to_string()
}

/// How much there is of what.
fn summary(terminal: &mut Terminal) {
    let memory = system::memory();
    let columns = [Column::Left(""), Column::Right("total"), Column::Right("used"), Column::Right("free")];
    let mut table = Table::new(columns);
    let mut row = |name: &str, total: u64, used: u64| {
        let kibibytes = |bytes: u64| (bytes / 1024).to_string();
        table.row([name.into(), kibibytes(total), kibibytes(used), kibibytes(total.saturating_sub(used))]);
    };
    row("Mem:", memory.total, memory.total.saturating_sub(memory.free));
    row("Reserved:", memory.reserved, memory.reserved);
    row("Kernel:", memory.kernel, memory.kernel);
    row("Heap:", memory.heap, memory.heap_used);
    row("Modules:", memory.modules, memory.modules);
    row("DMA:", memory.dma, memory.dma);
    write!(terminal, "{table}");
}

/// Who has how much.
fn holders(terminal: &mut Terminal) {
    let numbers = ["Objects", "Heap", "DMA", "Pages", "Image"].map(Column::Right);
    let [objects, heap, dma, pages, image] = numbers;
    let mut table = Table::new([Column::Left("Module"), objects, heap, dma, pages, image]);
    for holder in system::memory_holders() {
        let [heap, dma, pages, image] = [holder.heap, holder.device_memory, holder.taken, holder.image].map(kibibytes);
        table.row([holder.name, holder.objects.to_string(), heap, dma, pages, image]);
    }
    write!(terminal, "{table}");
}

pub fn slabtop(terminal: &mut Terminal, _arguments: &[&str]) -> Result<(), Failure> {
    let numbers = ["Size", "Used", "Kept", "Objects", "Use", "Slabs", "KiB"].map(Column::Right);
    let mut table = Table::new(numbers);
    for class in system::heap_classes() {
        let share = (class.used * 100).checked_div(class.capacity).map_or("-".into(), |share| format!("{share}%"));
        let [size, used, kept, capacity, slabs, bytes] =
            [class.size, class.used, class.kept, class.capacity, class.slabs, class.bytes / 1024]
                .map(|number| number.to_string());
        table.row([size, used, kept, capacity, share, slabs, bytes]);
    }
    write!(terminal, "{table}");
    Ok(())
}
