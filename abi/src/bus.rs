//! The class of buses: devices that lead to other devices.

use crate::text::check_name;
use crate::{Error, Result};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// How many strings a child's `compatible` may list.
const MOST_COMPATIBLE: usize = 16;

/// A device found behind a bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its name below the bus's node, without slashes: `device1`. See [`check_name`].
    pub name: String,
    /// What modules may claim it, most specific first: `virtio,device1`. Up to 16 names.
    pub compatible: Vec<String>,
}

impl Child {
    /// Checks what a bus driver says of a child, as the kernel does before it takes it.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check(&self) -> Result<()> {
        check_name("device", &self.name)?;
        if self.name.contains('/') {
            return Err(Error::Invalid(format!("the module names a device `{}`, no slash is expected", self.name)));
        }
        if self.compatible.len() > MOST_COMPATIBLE {
            let found = self.compatible.len();
            let what =
                format!("`{}` is compatible with {found} devices, up to {MOST_COMPATIBLE} are expected", self.name);
            return Err(Error::Invalid(what));
        }
        self.compatible.iter().try_for_each(|name| check_name("compatible device", name))
    }
}

/// A device that leads to others, which the device tree doesn't list.
///
/// A child gets the registers, interrupts and properties of the bus's own node: the bus driver gives up those that the
/// child needs before `probe` returns.
pub trait Bus: Send + Sync {
    /// What is behind the bus. The kernel leaves out what [`Child::check`] refuses, and what is more than
    /// 256 for a module or behind more than 7 buses.
    fn children(&self) -> Vec<Child>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn children_that_nobody_could_list_are_refused() {
        let child = |name: &str, compatible: Vec<&str>| {
            let compatible = compatible.into_iter().map(Into::into).collect();
            Child { name: name.into(), compatible }.check()
        };
        assert_eq!(child("device1", vec!["virtio,device1"]), Ok(()));
        assert_eq!(child("device@1,0", vec![]), Ok(()));
        for name in ["", "../../pl011@9000000", "\x1b[2J", &"a".repeat(1 << 20)] {
            assert!(child(name, vec![]).is_err(), "{name:?}");
        }
        assert!(child("a", vec![&"b".repeat(1 << 20)]).is_err());
        assert!(child("a", vec!["b"; 17]).is_err());
    }
}
