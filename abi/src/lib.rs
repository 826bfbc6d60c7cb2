//! The contract between the Lockstep kernel and its modules.
//!
//! The kernel and every module are compiled against this one crate, built once, so native Rust types and trait objects
//! cross the boundary between them: structs keep their fields, enums their variants, `dyn Trait` its vtable. The loader
//! checks that this really is so before it links a module (see the `stamp` crate).
//!
//! A driver implements [`Driver`] and one or more classes ([`Clock`](clock::Clock), [`Console`](console::Console),
//! [`NetworkDevice`](network::NetworkDevice), ...) and declares itself with [`driver!`]; a service has no device and
//! implements [`Service`]; a [`library!`] is there for other modules to link against. What they need they get as owned
//! handles from [`Resources`]; what others publish they find in the [`registry`].
//!
//! What crosses a trait of this crate is an owned value, plain data, a slice lent for the call, or one of this crate's
//! buffers: never a reference that outlives the call, and never a `&'static str` of a module, whose text goes away with
//! it. That is what leaves room for a module to run in an address space of its own behind a proxy of the same trait.
#![no_std]
#![feature(allow_internal_unsafe)]
#![cfg_attr(not(target_os = "none"), feature(core_intrinsics))]
#![allow(
    internal_features,
    reason = "`driver!` must expand in crates that forbid unsafe code, and where tests run a guarded call catches"
)]

extern crate alloc;

pub mod block;
pub mod bus;
mod class;
pub mod clock;
pub mod console;
pub mod dma;
mod driver;
mod error;
pub mod event;
pub mod file;
pub mod firmware;
pub mod gpio;
#[doc(hidden)]
pub mod guard;
mod handle;
pub mod handover;
pub mod internet;
pub mod interrupt;
#[doc(hidden)]
pub mod kernel;
pub mod mailbox;
pub mod network;
mod node;
pub mod parameter;
pub mod pixels;
pub mod power;
pub mod random;
mod reference;
pub mod registers;
pub mod registry;
mod resources;
#[doc(hidden)]
pub mod running;
pub mod screen;
pub mod sync;
pub mod system;
pub mod text;
pub mod thread;
pub mod time;
pub mod uart;

pub use class::{Class, Interface, Published};
pub use driver::{Driver, Provides, Service};
#[doc(hidden)]
pub use driver::{Entry, MODULE_SYMBOL, Module, boxed_driver, boxed_service, text_bytes};
pub use error::{Error, Result};
pub use handle::Handle;
#[doc(hidden)]
pub use handle::enter;
pub use log;
pub use node::{Node, Property};
pub use reference::Reference;
pub use resources::Resources;
#[doc(hidden)]
pub use tock_registers;

/// What nearly every module uses.
pub mod prelude {
    pub use crate::block::BlockDevice;
    pub use crate::bus::{Bus, Child};
    pub use crate::clock::{Clock, UnixTime};
    pub use crate::console::Console;
    pub use crate::dma::{Dma, DmaBuffer};
    pub use crate::event::{Event, Signal, Wake};
    pub use crate::file::FileSystem;
    pub use crate::firmware::Firmware;
    pub use crate::gpio::{Gpio, PinControl};
    pub use crate::handover::Handover;
    pub use crate::internet::Internet;
    pub use crate::interrupt::{Interrupt, InterruptController, Served};
    pub use crate::mailbox::Mailbox;
    pub use crate::network::NetworkDevice;
    pub use crate::pixels::Pixels;
    pub use crate::power::Power;
    pub use crate::random::Random;
    pub use crate::registers::{ReadOnly, ReadWrite, Registers, WriteOnly};
    pub use crate::screen::Screen;
    pub use crate::sync::{Lock, Mutex};
    pub use crate::time::Instant;
    pub use crate::{Driver, Error, Handle, Node, Resources, Result, Service};
    pub use alloc::borrow::ToOwned;
    pub use alloc::boxed::Box;
    pub use alloc::format;
    pub use alloc::string::{String, ToString};
    pub use alloc::vec;
    pub use alloc::vec::Vec;
    pub use core::time::Duration;
    pub use log::{debug, error, info, trace, warn};
    pub use tock_registers::interfaces::{Debuggable, ReadWriteable, Readable, Writeable};
    pub use tock_registers::register_bitfields;
}
