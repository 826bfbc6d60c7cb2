//! The classes of what modules publish.

use core::fmt;

macro_rules! classes {
    ($($(#[$documentation:meta])* $name:ident: $trait:path, $label:literal;)+) => {
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
        }

        /// An interface that a module publishes, borrowed from the object that implements it.
        pub enum Interface<'a> { $($(#[$documentation])* $name(&'a (dyn $trait + 'static))),+ }

        $(
            impl Published for dyn $trait {
                const CLASS: Class = Class::$name;

                fn from_interface<'a>(interface: Interface<'a>) -> Option<&'a Self> {
                    match interface {
                        Interface::$name(object) => Some(object),
                        _ => None,
                    }
                }
            }
        )+
    };
}

/// A trait object that can be published: one for each [`Class`].
pub trait Published: Send + Sync + 'static {
    /// Its class.
    const CLASS: Class;

    /// The trait object within `interface`, if it is of this class.
    fn from_interface<'a>(interface: Interface<'a>) -> Option<&'a Self>;
}

classes! {
    /// Devices behind a device.
    Bus: crate::bus::Bus, "bus";
    /// The time of day.
    Clock: crate::clock::Clock, "clock";
    /// A terminal.
    Console: crate::console::Console, "console";
    /// An IP stack.
    Internet: crate::internet::Internet, "internet";
    /// An interrupt controller.
    InterruptController: crate::interrupt::InterruptController, "interrupt controller";
    /// A network card.
    NetworkDevice: crate::network::NetworkDevice, "network device";
    /// Switching the machine off and on again.
    Power: crate::power::Power, "power";
}

impl fmt::Display for Class {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.label())
    }
}
