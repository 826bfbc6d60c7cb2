//! Parameters: values that whoever loads a module may set, by `name=value` behind `insmod MODULE` or by
//! `MODULE.name=value` in `bootargs`.
//!
//! They are declared in [`driver!`](crate::driver), [`service!`](crate::service) or [`library!`](crate::library), each
//! with a name, a type, a default and a text that `modinfo` shows:
//!
//! ```
//! use abi::prelude::*;
//!
//! abi::service!(
//!     Greeter,
//!     summary = "Says hello",
//!     parameters = {
//!         /// Whom to greet
//!         whom: String = "the world",
//!         /// How often
//!         times: u8 in 1..=3 = 1,
//!     },
//! );
//!
//! struct Greeter;
//!
//! impl Service for Greeter {
//!     fn start(_resources: &mut Resources) -> Result<Self> {
//!         for _ in 0..parameters::times() {
//!             info!("hello, {}", parameters::whom());
//!         }
//!         Ok(Self)
//!     }
//! }
//! ```
//!
//! A parameter's type is `bool`, an integer, or `String`; a range may follow it. Its value is set before any other code
//! of the module runs, and stays.

use crate::sync::Lock;
use crate::{Error, Result};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::fmt::Display;

/// A type that a parameter may have.
pub trait Value: Clone {
    /// What its default is written as.
    type Literal: Copy + Display + Send + Sync + 'static;

    /// What a text should be to be one, as in "expected *a whole number from 0 to 255*".
    fn expected() -> String;

    /// The value that a text stands for.
    fn parse(text: &str) -> Option<Self>;

    /// The value that a literal stands for.
    fn of(literal: Self::Literal) -> Self;

    /// Whether the value lies between two others, both included.
    fn is_within(&self, low: Self::Literal, high: Self::Literal) -> bool;
}

/// A parameter of a module. [`driver!`](crate::driver) and its like make them.
#[derive(Debug)]
pub struct Parameter<T: Value> {
    name: &'static str,
    default: T::Literal,
    range: Option<(T::Literal, T::Literal)>,
    value: Lock<Option<T>>,
}

impl<T: Value> Parameter<T> {
    /// A parameter that has its default until it is set to something within the range, if there is one.
    pub const fn new(name: &'static str, default: T::Literal, range: Option<(T::Literal, T::Literal)>) -> Self {
        Self { name, default, range, value: Lock::new(None) }
    }

    /// Its value.
    pub fn get(&self) -> T {
        self.value.lock().clone().unwrap_or_else(|| T::of(self.default))
    }
}

/// A parameter of any type, as the kernel sees it.
#[doc(hidden)]
pub trait Settable: Sync {
    /// Its name.
    fn name(&self) -> &str;

    /// Gives it the value that a text stands for.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the text stands for none that it may have.
    fn set(&self, text: &str) -> Result<()>;
}

impl<T: Value + Send> Settable for Parameter<T> {
    fn name(&self) -> &str {
        self.name
    }

    fn set(&self, text: &str) -> Result<()> {
        let allowed = |value: &T| self.range.is_none_or(|(low, high)| value.is_within(low, high));
        match T::parse(text).filter(allowed) {
            Some(value) => {
                *self.value.lock() = Some(value);
                Ok(())
            }
            None => {
                let expected = match self.range {
                    Some((low, high)) => format!("a whole number from {low} to {high}"),
                    None => T::expected(),
                };
                Err(Error::Invalid(format!("parameter {} is {text:?}, expected {expected}", self.name)))
            }
        }
    }
}

impl Value for bool {
    type Literal = Self;

    fn expected() -> String {
        "y or n".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        // A bare name switches it on, as with Linux's parameters.
        match text {
            "" | "y" | "Y" | "1" | "yes" | "on" | "true" => Some(true),
            "n" | "N" | "0" | "no" | "off" | "false" => Some(false),
            _ => None,
        }
    }

    fn of(literal: Self) -> Self {
        literal
    }

    fn is_within(&self, low: Self, high: Self) -> bool {
        (low..=high).contains(self)
    }
}

impl Value for String {
    type Literal = &'static str;

    fn expected() -> String {
        "a text".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn of(literal: &'static str) -> Self {
        literal.to_owned()
    }

    fn is_within(&self, low: &'static str, high: &'static str) -> bool {
        (low..=high).contains(&self.as_str())
    }
}

macro_rules! whole_numbers {
    ($($type:ident)+) => {$(
        impl Value for $type {
            type Literal = Self;

            fn expected() -> String {
                format!("a whole number from {} to {}", Self::MIN, Self::MAX)
            }

            fn parse(text: &str) -> Option<Self> {
                match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
                    // A sign behind the prefix would be accepted.
                    Some(digits) => Self::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with(['+', '-'])),
                    None => text.parse().ok(),
                }
            }

            fn of(literal: Self) -> Self {
                literal
            }

            fn is_within(&self, low: Self, high: Self) -> bool {
                (low..=high).contains(self)
            }
        }
    )+};
}

whole_numbers! { u8 u16 u32 u64 usize i8 i16 i32 i64 isize }

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn refused(parameter: &dyn Settable, text: &str) -> String {
        parameter.set(text).unwrap_err().to_string()
    }

    #[test]
    fn a_parameter_has_its_default_until_it_is_set() {
        let mtu: Parameter<u16> = Parameter::new("mtu", 1500, Some((68, 9000)));
        assert_eq!(mtu.get(), 1500);
        for (text, value) in [("68", 68), ("9000", 9000), ("0x5dc", 1500), ("+70", 70), ("0070", 70)] {
            mtu.set(text).unwrap();
            assert_eq!(mtu.get(), value, "{text}");
        }
        let whom: Parameter<String> = Parameter::new("whom", "the world", None);
        assert_eq!(whom.get(), "the world");
        whom.set("").unwrap();
        assert_eq!(whom.get(), "");
        let loud: Parameter<bool> = Parameter::new("loud", false, None);
        for (text, value) in [("", true), ("n", false), ("on", true), ("0", false), ("Y", true), ("false", false)] {
            loud.set(text).unwrap();
            assert_eq!(loud.get(), value, "{text}");
        }
    }

    #[test]
    fn a_bad_value_is_refused_with_name_value_and_what_was_expected_and_changes_nothing() {
        let mtu: Parameter<u16> = Parameter::new("mtu", 1500, Some((68, 9000)));
        mtu.set("1400").unwrap();
        for text in
            ["67", "9001", "-1", "14OO", "", "1e3", "65536", "0x", "0x-1", "0x+1", "1400 ", "99999999999999999999"]
        {
            let sentence = alloc::format!("parameter mtu is {text:?}, expected a whole number from 68 to 9000");
            assert_eq!(refused(&mtu, text), sentence);
        }
        assert_eq!(mtu.get(), 1400);
        let level: Parameter<i8> = Parameter::new("level", 0, None);
        assert_eq!(refused(&level, "128"), "parameter level is \"128\", expected a whole number from -128 to 127");
        let loud: Parameter<bool> = Parameter::new("loud", false, None);
        assert_eq!(refused(&loud, "maybe"), "parameter loud is \"maybe\", expected y or n");
    }
}
