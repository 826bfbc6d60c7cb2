//! What a property of a node points to.

use crate::registry::{self, ProviderId};
use crate::{Error, Handle, Published, Result};
use alloc::vec::Vec;

/// Another node, and what a property says besides pointing to it: one entry of `gpios`, `mboxes`, ....
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    provider: ProviderId,
    arguments: Vec<u32>,
}

impl Reference {
    /// For the kernel: the node that `provider` stands for, with these cells.
    #[doc(hidden)]
    pub fn new(provider: ProviderId, arguments: Vec<u32>) -> Self {
        Self { provider, arguments }
    }

    /// The cells that follow the pointer.
    pub fn arguments(&self) -> &[u32] {
        &self.arguments
    }

    /// The node that is pointed to.
    pub fn provider(&self) -> ProviderId {
        self.provider
    }

    /// The way to what that node publishes under the class of `T`.
    ///
    /// # Errors
    /// [`Error::Deferred`] while it publishes nothing.
    pub fn find<T: Published + ?Sized>(&self) -> Result<Handle<T>> {
        let found = registry::all::<T>().into_iter().find(|handle| handle.provider() == self.provider);
        found.ok_or_else(|| Error::Deferred(self.provider.name()))
    }
}
