//! A driver that misbehaves in the way that whoever writes to it asks for: what is written to its first block begins with
//! the name of a fault. It drives a PL031 real-time clock, for the sake of its registers and its interrupt.
#![no_std]

mod faults;

use abi::block::Geometry;
use abi::prelude::*;
use abi::thread;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use faults::Fault;

abi::driver!(
    TestFaults: BlockDevice,
    compatible = ["arm,pl031"],
    summary = "Misbehaves in the way that it is asked to",
    parameters = {
        /// How many blocks it has: without any it can't be loaded; only the first can be used
        blocks: u64 = 1,
    },
);

abi::registers! {
    Layout {
        (0x000 => data: ReadOnly<u32>),
        (0x004 => match_with: ReadWrite<u32>),
        (0x008 => _reserved),
        (0x010 => interrupt_mask: ReadWrite<u32>),
        (0x014 => _reserved2),
        (0x01c => interrupt_clear: WriteOnly<u32>),
        (0x020 => @END),
    }
}

/// A block.
const BLOCK: usize = 512;

/// How often it can't be started again after it was asked to be reluctant. As long as that goes on, the register for the time
/// to wait for, which no restart changes, says how often still.
const REFUSALS: u32 = 3;

struct TestFaults {
    registers: Registers<Layout>,
    dma: Dma,
    /// What it holds, to be leaked.
    held: Mutex<Option<Held>>,
    /// What happens at the next interrupt, and whether that is in interrupt context.
    at_interrupt: AtomicU8,
    is_now: AtomicBool,
    /// Whether it panics when it is dropped.
    is_stubborn: AtomicBool,
    /// Whether its interrupts are left as they are, so that they come again at once.
    is_deaf: AtomicBool,
}

struct Held {
    _interrupt: Interrupt,
    _memory: DmaBuffer,
}

impl Driver for TestFaults {
    fn probe(_node: &Node, resources: &mut Resources) -> Result<Self> {
        if parameters::blocks() == 0 {
            return Err(Error::Invalid("a disk without blocks".into()));
        }
        let registers: Registers<Layout> = resources.registers(0)?;
        // Nothing of what the one before has asked of the device must come now.
        registers.interrupt_mask.set(0);
        registers.interrupt_clear.set(1);
        if let refusals @ 1..=REFUSALS = registers.match_with.get() {
            registers.match_with.set(refusals - 1);
            return Err(Error::Device("it is reluctant".to_owned()));
        }
        let dma = resources.dma();
        let held = Held { _interrupt: resources.interrupt(0)?, _memory: dma.allocate(8192, 4096)? };
        Ok(Self {
            registers,
            dma,
            held: Mutex::new(Some(held)),
            at_interrupt: AtomicU8::new(Fault::None as u8),
            is_now: Default::default(),
            is_stubborn: Default::default(),
            is_deaf: Default::default(),
        })
    }

    fn interrupt_now(&self, _index: usize) -> Served {
        if self.is_now.load(Ordering::Relaxed) {
            if !self.is_deaf.load(Ordering::Relaxed) {
                self.at_interrupt();
            }
            return Served::Done;
        }
        Served::OnThread
    }

    fn interrupt(&self, _index: usize) {
        self.at_interrupt();
    }
}

impl Drop for TestFaults {
    fn drop(&mut self) {
        self.registers.interrupt_mask.set(0);
        self.registers.interrupt_clear.set(1);
        if self.is_stubborn.load(Ordering::Relaxed) {
            panic!("it doesn't want to be dropped");
        }
    }
}

impl BlockDevice for TestFaults {
    fn geometry(&self) -> Geometry {
        Geometry { block_size: BLOCK, blocks: parameters::blocks(), read_only: false }
    }

    fn read(&self, first: u64, buffer: &mut [u8]) -> Result<()> {
        self.geometry().check(first, buffer.len())?;
        buffer.fill(0);
        Ok(())
    }

    fn write(&self, first: u64, buffer: &[u8]) -> Result<()> {
        self.geometry().check_write(first, buffer.len())?;
        let name = buffer.split(|byte| *byte == 0).next().and_then(|name| str::from_utf8(name).ok());
        let name = name.unwrap_or_default();
        match name.split_once('-') {
            None => self.misbehave(name),
            Some((place, name)) => {
                let fault = Fault::named(name).ok_or(Error::Absent)?;
                match place {
                    "interrupt" => self.interrupt_with(fault, true),
                    "handler" => self.interrupt_with(fault, false),
                    "thread" => thread::spawn("test-faults", move || fault.happen())?,
                    _ => return Err(Error::Absent),
                }
                // Until the kernel has seen what happens there.
                Event::new()?.wait(None).map(|_| ())
            }
        }
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

impl TestFaults {
    /// What needs the driver, or else a fault.
    fn misbehave(&self, name: &str) -> Result<()> {
        match name {
            "leak" => {
                core::mem::forget(self.held.lock()?.take());
                core::mem::forget(self.dma.allocate(100, 64)?);
                core::mem::forget(Event::new()?);
                core::mem::forget(vec![1u8; 100_000]);
                (0..100).for_each(|_| core::mem::forget(Box::new([2u8; 100])));
                thread::spawn("test-faults", || while abi::time::sleep(Duration::from_secs(1)).is_ok() {})?;
                panic!("it leaves everything behind");
            }
            "reluctant" => {
                self.registers.match_with.set(REFUSALS);
                panic!("it will be reluctant");
            }
            "drop" => {
                self.is_stubborn.store(true, Ordering::Relaxed);
                panic!("it will be dropped");
            }
            "deaf" => {
                let event = Event::new()?;
                thread::spawn("test-faults", || panic!("it leaves the call behind"))?;
                loop {
                    let _ = event.wait(None);
                }
            }
            "storm" => {
                self.is_deaf.store(true, Ordering::Relaxed);
                self.interrupt_with(Fault::None, true);
                Event::new()?.wait(None).map(|_| ())
            }
            "sleep" => Event::new()?.wait(None).map(|_| ()),
            "lingering" => {
                thread::spawn("test-faults", || Fault::Loop.happen())?;
                panic!("it leaves a thread behind");
            }
            "misaligned" => {
                let register = (&raw const self.registers.match_with).cast::<u32>();
                // SAFETY: none: that it goes wrong is what the module is for.
                unsafe { register.byte_add(1).read_volatile() };
                Ok(())
            }
            name => {
                Fault::named(name).ok_or(Error::Absent)?.happen();
                Ok(())
            }
        }
    }

    /// Has the device interrupt at once: the time is what it is to wait for.
    fn interrupt_with(&self, fault: Fault, now: bool) {
        self.at_interrupt.store(fault as u8, Ordering::Relaxed);
        self.is_now.store(now, Ordering::Release);
        self.registers.interrupt_mask.set(1);
        loop {
            let now = self.registers.data.get();
            self.registers.match_with.set(now);
            // Unless a second has passed in between, after which it would wait for 136 years.
            if self.registers.data.get() == now {
                break;
            }
        }
    }

    fn at_interrupt(&self) {
        self.registers.interrupt_mask.set(0);
        self.registers.interrupt_clear.set(1);
        if let Some(fault) = Fault::numbered(self.at_interrupt.swap(Fault::None as u8, Ordering::Relaxed)) {
            fault.happen();
        }
    }
}
