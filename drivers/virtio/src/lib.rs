//! What the drivers of virtio devices share: a safe [`Device`] on top of the crate `virtio-drivers`.
//!
//! Specification: Virtual I/O Device (VIRTIO) Version 1.3; sections named below are its.
#![cfg_attr(not(test), no_std)]

abi::library!(summary = "What the drivers of virtio devices share");

mod device;
mod memory;
#[cfg(test)]
mod tests;

pub use device::{Access, Device};
pub use virtio_drivers::transport::{DeviceType, InterruptStatus};
