//! What a module is: a driver or a service, and its declaration.

use crate::{Class, Interface, Node, Resources, Result};
use alloc::boxed::Box;

/// A device's driver: bound to one node of the device tree from [`probe`](Self::probe) until it is dropped.
///
/// Dropping it puts the device to rest; the kernel then takes back whatever the driver still holds.
pub trait Driver: Provides + Send + Sync {
    /// Takes charge of the device behind `node`, using what `resources` offers.
    ///
    /// # Errors
    /// [`Error::Absent`](crate::Error::Absent) when nothing is there, [`Error::Deferred`](crate::Error::Deferred) when
    /// something has to be published first; anything else leaves the node unbound, with that reason.
    fn probe(node: &Node, resources: &mut Resources) -> Result<Self>
    where
        Self: Sized;

    /// Serves interrupt number `index` of the node, in interrupt context: it must be short and can't wait.
    ///
    /// Called for interrupts that `probe` took with [`Resources::interrupt`], from the moment that `probe` succeeded.
    fn interrupt(&self, index: usize) {
        let _ = index;
    }
}

/// A module without a device of its own: a protocol, a shell, a file system.
///
/// Dropping it ends it; its threads are asked to end before ([`Error::Stopping`](crate::Error::Stopping)).
pub trait Service: Provides + Send + Sync {
    /// Starts the service.
    ///
    /// # Errors
    /// Any error leaves the service stopped, with that reason.
    fn start(resources: &mut Resources) -> Result<Self>
    where
        Self: Sized;
}

#[diagnostic::on_unimplemented(
    message = "`{Self}` isn't declared to be a driver or a service",
    note = "declare it with `abi::driver!({Self}, compatible = [...], summary = \"...\")` or `abi::service!`"
)]
/// What a driver or service publishes. Implemented by [`driver!`](crate::driver) and [`service!`](crate::service).
pub trait Provides {
    /// The interface of that class, if this object has one.
    fn interface(&self, class: Class) -> Option<Interface<'_>>;

    /// All classes that this object has an interface of.
    fn classes(&self) -> &[Class];
}

/// The symbol that the loader looks for in a module: a [`Module`].
#[doc(hidden)]
pub const MODULE_SYMBOL: &str = "LOCKSTEP_MODULE";

/// How the kernel enters a module.
#[doc(hidden)]
pub struct Module {
    /// The crate's name.
    pub name: &'static str,
    /// What kind of module it is.
    pub entry: Entry,
}

/// The kinds of module.
#[doc(hidden)]
pub enum Entry {
    /// Binds to nodes.
    Driver(fn(&Node, &mut Resources) -> Result<Box<dyn Driver>>),
    /// Is started once.
    Service(fn(&mut Resources) -> Result<Box<dyn Service>>),
}

#[doc(hidden)]
pub fn boxed_driver<T: Driver + 'static>(node: &Node, resources: &mut Resources) -> Result<Box<dyn Driver>> {
    Ok(Box::new(T::probe(node, resources)?))
}

#[doc(hidden)]
pub fn boxed_service<T: Service + 'static>(resources: &mut Resources) -> Result<Box<dyn Service>> {
    Ok(Box::new(T::start(resources)?))
}

/// The bytes of `text`, as the array that a section's content has to be.
#[doc(hidden)]
pub const fn text_bytes<const LENGTH: usize>(text: &str) -> [u8; LENGTH] {
    match text.as_bytes().first_chunk() {
        Some(bytes) => *bytes,
        None => panic!("the array is longer than the text"),
    }
}

/// Declares this crate to be a driver: its type, the classes that it publishes, the nodes that it claims.
///
/// ```no_run
/// use abi::prelude::*;
///
/// abi::driver!(Epoch: Clock, compatible = ["example,stopped-clock"], summary = "A clock that has stopped");
///
/// struct Epoch;
///
/// impl Driver for Epoch {
///     fn probe(_node: &Node, _resources: &mut Resources) -> Result<Self> {
///         Ok(Self)
///     }
/// }
///
/// impl Clock for Epoch {
///     fn now(&self) -> UnixTime {
///         UnixTime::from_secs(0)
///     }
/// }
/// ```
///
/// Classes are separated by `+` and may be left out. The strings go into the object's `.modinfo` section as well, where
/// `readelf -p .modinfo` and the shell's `modinfo` show them.
#[macro_export]
#[allow_internal_unsafe]
macro_rules! driver {
    (
        $type:ident $(: $class:ident $(+ $more:ident)*)?,
        compatible = [$($compatible:literal),+ $(,)?],
        summary = $summary:literal $(,)?
    ) => {
        $crate::module!(
            $type, [$($class $($more)*)?], $summary,
            concat!($("compatible=", $compatible, "\0"),+),
            Driver($crate::boxed_driver::<$type>)
        );
    };
}

/// Declares this crate to be a service: its type and the classes that it publishes.
///
/// ```no_run
/// use abi::prelude::*;
///
/// abi::service!(Greeter, summary = "Says hello");
///
/// struct Greeter;
///
/// impl Service for Greeter {
///     fn start(_resources: &mut Resources) -> Result<Self> {
///         info!("hello");
///         Ok(Self)
///     }
/// }
/// ```
#[macro_export]
#[allow_internal_unsafe]
macro_rules! service {
    ($type:ident $(: $class:ident $(+ $more:ident)*)?, summary = $summary:literal $(,)?) => {
        $crate::module!(
            $type, [$($class $($more)*)?], $summary, "service=1\0",
            Service($crate::boxed_service::<$type>)
        );
    };
}

/// What `driver!` and `service!` have in common.
#[doc(hidden)]
#[macro_export]
#[allow_internal_unsafe]
macro_rules! module {
    ($type:ident, [$($class:ident)*], $summary:literal, $claims:expr, $kind:ident($enter:expr)) => {
        impl $crate::Provides for $type {
            fn interface(&self, class: $crate::Class) -> Option<$crate::Interface<'_>> {
                match class {
                    $($crate::Class::$class => Some($crate::Interface::$class(self)),)*
                    #[allow(unreachable_patterns, reason = "a module may provide every class")]
                    _ => None,
                }
            }

            fn classes(&self) -> &[$crate::Class] {
                &[$($crate::Class::$class),*]
            }
        }

        const _: () = {
            #[unsafe(no_mangle)]
            static LOCKSTEP_MODULE: $crate::Module =
                $crate::Module { name: env!("CARGO_PKG_NAME"), entry: $crate::Entry::$kind($enter) };

            const TEXT: &str = concat!(
                "name=", env!("CARGO_PKG_NAME"), "\0",
                "version=", env!("CARGO_PKG_VERSION"), "\0",
                "license=", env!("CARGO_PKG_LICENSE"), "\0",
                "summary=", $summary, "\0",
                $("class=", stringify!($class), "\0",)*
                $claims,
            );

            #[used]
            #[unsafe(link_section = ".modinfo")]
            static INFORMATION: [u8; TEXT.len()] = $crate::text_bytes(TEXT);
        };
    };
}
