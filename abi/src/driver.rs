//! What a module is: a driver, a service or a library, and its declaration.

use crate::handover::Handover;
use crate::interrupt::Served;
use crate::parameter::Settable;
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

    /// What its successor should know, when a newer module is about to take this one's place. It goes on working until it
    /// is dropped, and may even be asked again.
    fn hand_over(&self) -> Option<Handover> {
        None
    }

    /// Serves interrupt number `index` of the node, on a thread that does nothing else: it may wait and be preempted. The
    /// line is silent meanwhile.
    ///
    /// Called for interrupts that `probe` took with [`Resources::interrupt`], from the moment that `probe` succeeded.
    fn interrupt(&self, index: usize) {
        let _ = index;
    }

    /// Serves interrupt number `index` at once, in interrupt context, or says that [`interrupt`](Self::interrupt) is to do
    /// that. For where latency counts: it must be short, and a wait in it is a failure.
    fn interrupt_now(&self, index: usize) -> Served {
        let _ = index;
        Served::OnThread
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

    /// As [`Driver::hand_over`].
    fn hand_over(&self) -> Option<Handover> {
        None
    }
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
    /// What whoever loads it may set.
    pub parameters: &'static [&'static dyn Settable],
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
    /// Holds what other modules link against.
    Library,
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
/// Classes are separated by `+` and may be left out, as may `parameters = { ... }`, which is explained in
/// [`parameter`](crate::parameter). The strings go into the object's `.modinfo` section as well, where
/// `readelf -p .modinfo` and the shell's `modinfo` show them.
#[macro_export]
#[allow_internal_unsafe]
macro_rules! driver {
    (
        $type:ident $(: $class:ident $(+ $more:ident)*)?,
        compatible = [$($compatible:literal),+ $(,)?],
        summary = $summary:literal
        $(, parameters = { $($parameters:tt)* })? $(,)?
    ) => {
        $crate::provides!($type, $($class $($more)*)?);
        $crate::module!(
            #[unsafe(no_mangle)],
            $summary,
            [$($class $($more)*)?],
            concat!($("compatible=", $compatible, "\0"),+),
            Driver($crate::boxed_driver::<$type>),
            $($($parameters)*)?
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
///
/// With `needs = BlockDevice` before the summary, it is started when there is the first of that class, and not before. It may
/// have [parameters](crate::parameter) as well.
#[macro_export]
#[allow_internal_unsafe]
macro_rules! service {
    (
        $type:ident $(: $class:ident $(+ $more:ident)*)?,
        $(needs = $needs:ident,)?
        summary = $summary:literal
        $(, parameters = { $($parameters:tt)* })? $(,)?
    ) => {
        $crate::provides!($type, $($class $($more)*)?);
        $(const _: $crate::Class = $crate::Class::$needs;)?
        $crate::module!(
            #[unsafe(no_mangle)],
            $summary,
            [$($class $($more)*)?],
            concat!("service=", $(stringify!($needs),)? "\0"),
            Service($crate::boxed_service::<$type>),
            $($($parameters)*)?
        );
    };
}

/// Declares this crate to be a library: a module of its own, whose functions and statics other modules link against.
///
/// ```no_run
/// abi::library!(summary = "What several drivers share");
/// ```
///
/// A module whose crate depends on this one gets what it calls here from this module, which is loaded before it and stays
/// as long as it; so what is `static` here exists once. It may have [parameters](crate::parameter) as well.
#[macro_export]
#[allow_internal_unsafe]
macro_rules! library {
    (summary = $summary:literal $(, parameters = { $($parameters:tt)* })? $(,)?) => {
        $crate::module!(
            // Tests on the host link a driver with its libraries: there one module alone may have the symbol.
            #[cfg_attr(target_os = "none", unsafe(no_mangle))],
            $summary,
            [],
            "library=1\0",
            Library,
            $($($parameters)*)?
        );
    };
}

/// Implements [`Provides`] for a driver's or service's type.
#[doc(hidden)]
#[macro_export]
macro_rules! provides {
    ($type:ident, $($class:ident)*) => {
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
    };
}

/// What all kinds of module have in common.
#[doc(hidden)]
#[macro_export]
#[allow_internal_unsafe]
macro_rules! module {
    (
        #[$symbol:meta], $summary:literal, [$($class:ident)*], $claims:expr, $kind:ident $(($enter:expr))?,
        $(
            $(#[doc = $text:literal])+
            $parameter:ident: $value:ident $(in $low:literal..=$high:literal)? = $default:literal
        ),* $(,)?
    ) => {
        /// The values of this module's parameters.
        #[allow(unused_imports, reason = "not every module has parameters, or one that is a text")]
        mod parameters {
            use $crate::prelude::String;
            $(
                $(#[doc = $text])+
                pub fn $parameter() -> $value {
                    $parameter::PARAMETER.get()
                }

                pub mod $parameter {
                    use super::*;

                    $(const _: () = {
                        let (low, default, high): ($value, $value, $value) = ($low, $default, $high);
                        assert!(low <= default && default <= high, "the default is outside of the range");
                    };)?

                    pub static PARAMETER: $crate::parameter::Parameter<$value> = $crate::parameter::Parameter::new(
                        stringify!($parameter),
                        $default,
                        $crate::first!($(Some(($low, $high)),)? None),
                    );
                }
            )*
        }

        const _: () = {
            #[$symbol]
            #[allow(dead_code, reason = "on the host a library's has no name")]
            static LOCKSTEP_MODULE: $crate::Module = $crate::Module {
                name: env!("CARGO_PKG_NAME"),
                parameters: &[$(&parameters::$parameter::PARAMETER),*],
                entry: $crate::Entry::$kind $(($enter))?,
            };

            const TEXT: &str = concat!(
                "name=", env!("CARGO_PKG_NAME"), "\0",
                "version=", env!("CARGO_PKG_VERSION"), "\0",
                "license=", env!("CARGO_PKG_LICENSE"), "\0",
                "summary=", $summary, "\0",
                $("class=", stringify!($class), "\0",)*
                $claims,
                $(
                    "parm=", stringify!($parameter), ":", $($text,)+
                    " (", stringify!($value), $(" in ", $low, "..=", $high,)? ", default ", $default, ")\0",
                )*
            );

            #[used]
            #[unsafe(link_section = ".modinfo")]
            static INFORMATION: [u8; TEXT.len()] = $crate::text_bytes(TEXT);
        };
    };
}

/// The first of some expressions.
#[doc(hidden)]
#[macro_export]
macro_rules! first {
    ($first:expr $(, $rest:expr)*) => {
        $first
    };
}
