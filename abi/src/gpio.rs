//! The classes of pin controllers: what a pin is used for, and pins that are read and driven one by one.

use crate::{Error, Node, Result};
use alloc::format;
use alloc::string::String;

/// What a pin is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Its level is read.
    Input,
    /// Its level is set.
    Output,
    /// A device, by the controller's number for it.
    Alternate(u8),
}

/// What holds a pin that nobody drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// Nothing.
    None,
    /// A resistor to ground.
    Down,
    /// A resistor to the supply.
    Up,
}

/// How a pin stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinStatus {
    /// What the board calls it (`gpio-line-names`); empty when it has no name.
    pub name: String,
    /// What it is connected to.
    pub function: Function,
    /// What holds it; none where the controller doesn't tell.
    pub pull: Option<Pull>,
    /// Whether its level is high, whoever drives it.
    pub is_high: bool,
}

/// A controller of pins, numbered from 0.
///
/// Each call fails with [`Error::Invalid`](crate::Error::Invalid) for a pin that the controller hasn't got, or a function
/// or pull that the pin hasn't got.
pub trait Gpio: Send + Sync {
    /// How many pins it has: at most 1024. Those who list them call [`checked_pins`](#method.checked_pins).
    fn pins(&self) -> u32;

    /// How a pin stands.
    ///
    /// # Errors
    /// See [`Gpio`].
    fn status(&self, pin: u32) -> Result<PinStatus>;

    /// Whether a pin's level is high.
    ///
    /// # Errors
    /// See [`Gpio`].
    fn is_high(&self, pin: u32) -> Result<bool>;

    /// Sets the level that a pin has as an output, at once if it is one.
    ///
    /// # Errors
    /// See [`Gpio`].
    fn set_level(&self, pin: u32, is_high: bool) -> Result<()>;

    /// Connects a pin to something else.
    ///
    /// # Errors
    /// See [`Gpio`].
    fn set_function(&self, pin: u32, function: Function) -> Result<()>;

    /// Has a pin held by something else.
    ///
    /// # Errors
    /// See [`Gpio`].
    fn set_pull(&self, pin: u32, pull: Pull) -> Result<()>;
}

/// The most pins that a controller has.
const MOST_PINS: u32 = 1024;

impl dyn Gpio {
    /// How many pins it has, if that can be.
    ///
    /// # Errors
    /// [`Error::Device`] when the driver says what can't be.
    pub fn checked_pins(&self) -> Result<u32> {
        match self.pins() {
            pins @ ..=MOST_PINS => Ok(pins),
            pins => {
                Err(Error::Device(format!("its driver says that it has {pins} pins, at most {MOST_PINS} are expected")))
            }
        }
    }
}

/// A controller of what pins are used for.
pub trait PinControl: Send + Sync {
    /// Sets pins as the tree says that a device needs them. `state` are the node that the device's `pinctrl-0` points to
    /// and its children, each of which may list pins (Linux binding `pinctrl/pinctrl-bindings.txt`, and the controller's).
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) when the tree asks for what the controller hasn't got; pins that were
    /// listed before may have been set.
    fn apply(&self, state: &[Node]) -> Result<()>;
}
