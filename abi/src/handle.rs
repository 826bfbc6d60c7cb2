//! How a consumer reaches what another module publishes.

use crate::registry::ProviderId;
use crate::{Published, Result, kernel};
use core::marker::PhantomData;
use core::ops::Deref;

/// A name for what a provider publishes under one class; it holds nothing alive.
///
/// The provider may be removed or replaced at any time: each [`get`](Self::get) leads to the object that is there then.
pub struct Handle<T: Published + ?Sized> {
    provider: ProviderId,
    class: PhantomData<fn() -> &'static T>,
}

impl<T: Published + ?Sized> Handle<T> {
    pub(crate) fn new(provider: ProviderId) -> Self {
        Self { provider, class: PhantomData }
    }

    /// The node or service that publishes it.
    pub fn provider(&self) -> ProviderId {
        self.provider
    }

    /// Borrows the live object. As long as the guard lives the provider can't be removed: keep it for a call, not for good.
    ///
    /// # Errors
    /// [`Error::Gone`](crate::Error::Gone) when the provider has been removed and not replaced.
    pub fn get(&self) -> Result<Guard<T>> {
        // SAFETY: the reference is kept inside the guard, which lends it for its own lifetime only and releases the
        // provider when it is dropped.
        let interface = unsafe { kernel::acquire(self.provider, T::CLASS) }?;
        match T::from_interface(interface) {
            Some(object) => Ok(Guard { object, provider: self.provider }),
            None => unreachable!("the kernel returned an interface of another class than {}", T::CLASS),
        }
    }
}

impl<T: Published + ?Sized> Clone for Handle<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Published + ?Sized> Copy for Handle<T> {}

/// A live object of another module, borrowed for the duration of a call or a few.
pub struct Guard<T: Published + ?Sized> {
    object: &'static T,
    provider: ProviderId,
}

impl<T: Published + ?Sized> Deref for Guard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.object
    }
}

impl<T: Published + ?Sized> Drop for Guard<T> {
    fn drop(&mut self) {
        // SAFETY: this guard acquired the provider once and releases it once; its reference ends here.
        unsafe { kernel::release(self.provider) }
    }
}
