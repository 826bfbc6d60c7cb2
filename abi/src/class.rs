//! The classes of what modules publish.

use core::fmt;
use core::time::Duration;

macro_rules! classes {
    ($($(#[$documentation:meta])* $name:ident: $trait:path, $label:literal, $budget:literal ms;)+) => {
        /// What kind of thing a module publishes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Class { $($(#[$documentation])* $name),+ }

        impl Class {
            /// All classes.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The class's name for people: `network device`.
            pub fn label(self) -> &'static str {
                match self { $(Self::$name => $label),+ }
            }

            /// How long a call of what is published under it may use a processor, unless `bootargs` say otherwise: what
            /// takes longer is stopped.
            pub const fn budget(self) -> Duration {
                match self { $(Self::$name => Duration::from_millis($budget)),+ }
            }
        }

        /// An interface that a module publishes, borrowed from the object that implements it.
        pub enum Interface<'a> { $($(#[$documentation])* $name(&'a (dyn $trait + 'static))),+ }

        $(
            impl Published for dyn $trait {
                const CLASS: Class = Class::$name;

                unsafe fn from_parts<'a>(parts: [usize; 2]) -> &'a Self {
                    // SAFETY: the caller's obligation; a reference to a trait object is these two words.
                    unsafe { core::mem::transmute(parts) }
                }
            }
        )+

        impl Interface<'_> {
            /// The object's address and that of its vtable.
            #[doc(hidden)]
            pub fn parts(&self) -> [usize; 2] {
                match self {
                    // SAFETY: a reference to a trait object is two words, of which these are the values.
                    $(Self::$name(object) => unsafe { core::mem::transmute::<&(dyn $trait + 'static), [usize; 2]>(*object) },)+
                }
            }
        }
    };
}

/// A trait object that can be published: one for each [`Class`].
pub trait Published: Send + Sync + 'static {
    /// Its class.
    const CLASS: Class;

    /// The trait object that consists of these [`parts`](Interface::parts).
    ///
    /// # Safety
    /// They must be those of an interface of this class, and the object must live for `'a`.
    #[doc(hidden)]
    unsafe fn from_parts<'a>(parts: [usize; 2]) -> &'a Self;
}

classes! {
    /// A disk or the like.
    BlockDevice: crate::block::BlockDevice, "block device", 1000 ms;
    /// Devices behind a device.
    Bus: crate::bus::Bus, "bus", 1000 ms;
    /// The time of day.
    Clock: crate::clock::Clock, "clock", 100 ms;
    /// A terminal.
    Console: crate::console::Console, "console", 10000 ms;
    /// Files on block devices.
    FileSystem: crate::file::FileSystem, "file system", 10000 ms;
    /// The firmware of a board, as far as it serves the operating system.
    Firmware: crate::firmware::Firmware, "firmware", 100 ms;
    /// Pins for general purposes.
    Gpio: crate::gpio::Gpio, "GPIO controller", 100 ms;
    /// An IP stack.
    Internet: crate::internet::Internet, "internet", 1000 ms;
    /// An interrupt controller.
    InterruptController: crate::interrupt::InterruptController, "interrupt controller", 100 ms;
    /// Words to another processor and back.
    Mailbox: crate::mailbox::Mailbox, "mailbox", 100 ms;
    /// A network card.
    NetworkDevice: crate::network::NetworkDevice, "network device", 100 ms;
    /// What pins are used for.
    PinControl: crate::gpio::PinControl, "pin controller", 100 ms;
    /// Switching the machine off and on again.
    Power: crate::power::Power, "power", 10000 ms;
    /// Random bytes from hardware.
    Random: crate::random::Random, "random number generator", 1000 ms;
    /// Text on a screen.
    Screen: crate::screen::Screen, "screen", 1000 ms;
}

impl fmt::Display for Class {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.label())
    }
}
