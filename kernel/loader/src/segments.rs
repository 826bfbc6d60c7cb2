//! The three segments of a module in memory, told apart by what they may be used for.

use core::{
    fmt,
    ops::{Index, IndexMut},
};

/// What a segment's memory may be used for once the module is linked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Permission {
    /// To be read and executed: instructions, and veneers behind them.
    Execute,
    /// To be read: constants, tables that are constant once relocated, unwind tables, and the global offset table.
    Read,
    /// To be read and written: data that is initialized, zeroed, or common.
    Write,
}

impl fmt::Display for Permission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Execute => "executable",
            Self::Read => "read-only",
            Self::Write => "writable",
        })
    }
}

/// One `T` for each of the three segments.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Segments<T> {
    /// That of [`Permission::Execute`].
    pub execute: T,
    /// That of [`Permission::Read`].
    pub read: T,
    /// That of [`Permission::Write`].
    pub write: T,
}

impl<T> Segments<T> {
    /// Applies `function` to the three in their order: execute, read, write.
    pub fn map<U>(self, mut function: impl FnMut(T) -> U) -> Segments<U> {
        Segments { execute: function(self.execute), read: function(self.read), write: function(self.write) }
    }

    /// The three by reference.
    pub fn as_ref(&self) -> Segments<&T> {
        Segments { execute: &self.execute, read: &self.read, write: &self.write }
    }

    /// The three by exclusive reference.
    pub fn as_mut(&mut self) -> Segments<&mut T> {
        Segments { execute: &mut self.execute, read: &mut self.read, write: &mut self.write }
    }
}

impl<T> Index<Permission> for Segments<T> {
    type Output = T;

    fn index(&self, permission: Permission) -> &T {
        match permission {
            Permission::Execute => &self.execute,
            Permission::Read => &self.read,
            Permission::Write => &self.write,
        }
    }
}

impl<T> IndexMut<Permission> for Segments<T> {
    fn index_mut(&mut self, permission: Permission) -> &mut T {
        match permission {
            Permission::Execute => &mut self.execute,
            Permission::Read => &mut self.read,
            Permission::Write => &mut self.write,
        }
    }
}
