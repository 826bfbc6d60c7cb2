//! How a consumer calls what another module publishes.

use crate::guard::{Ended, guarded};
use crate::registry::ProviderId;
use crate::running::{MOST_CALLS, Publication};
use crate::{Error, Published, Result, kernel};
use core::convert::Infallible;
use core::marker::PhantomData;
use core::sync::atomic::Ordering;

/// The way to what a provider publishes under one class; it holds nothing alive.
///
/// The provider may be removed, started again or replaced at any time: each [`call`](Self::call) leads to the object that
/// is there then.
pub struct Handle<T: Published + ?Sized> {
    publication: &'static Publication,
    class: PhantomData<fn() -> &'static T>,
}

impl<T: Published + ?Sized> Handle<T> {
    pub(crate) fn new(publication: &'static Publication) -> Self {
        Self { publication, class: PhantomData }
    }

    /// For the kernel.
    ///
    /// # Safety
    /// The publication must be of the class of `T`.
    #[doc(hidden)]
    pub unsafe fn from_publication(publication: &'static Publication) -> Self {
        Self::new(publication)
    }

    /// The node or service that publishes it.
    pub fn provider(&self) -> ProviderId {
        self.publication.provider
    }

    /// Calls the live object. The provider can't be removed until `action` has returned: keep it short. By then all locks must
    /// have been let go of that were taken in it, or the provider has failed.
    ///
    /// Whatever goes wrong inside of the provider ends here: when it panics, faults, takes too long or waits too long, this returns an
    /// error, and the kernel starts the provider again. A panic of `action`'s own code goes on through the caller.
    ///
    /// # Errors
    /// [`Error::Failed`](crate::Error::Failed) when the provider failed during the call,
    /// [`Error::Restarting`](crate::Error::Restarting) while it is started again after that,
    /// [`Error::Gone`](crate::Error::Gone) when it has been removed and not replaced.
    #[inline]
    pub fn call<R>(&self, action: impl FnOnce(&T) -> R) -> Result<R> {
        let publication = self.publication;
        let outcome = guarded(Some(publication), || {
            let [object, vtable] = &publication.object;
            // Now that the call is noted nobody takes the object away, so that both halves are of one object.
            let object = [object.load(Ordering::Relaxed), vtable.load(Ordering::Relaxed)];
            if object[0] == 0 {
                return Err(action);
            }
            // SAFETY: the registry puts only such pairs there, for the class that the publication is of; the object lives
            // as long as the call is noted.
            Ok(action(unsafe { T::from_parts(object) }))
        });
        match outcome {
            Ok(result) => Ok(result),
            Err(Ended::Refused(action)) => self.call_traced(action),
            // SAFETY: the call that has just been made ended with it.
            Err(Ended::Failed(failure)) => Err(unsafe { kernel::caught(failure, publication) }),
            Err(Ended::TooDeep) => Err(too_deep()),
        }
    }

    /// A call of what isn't there, or of what is hidden so that it can be traced.
    #[cold]
    #[inline(never)]
    fn call_traced<R>(&self, action: impl FnOnce(&T) -> R) -> Result<R> {
        enter(self.publication, || {
            let object = kernel::call_begins(self.publication)?;
            let vtable = self.publication.object[1].load(Ordering::Relaxed);
            // SAFETY: as in `call`.
            let object = unsafe { T::from_parts([object, vtable]) };
            let result = action(object);
            kernel::call_ends(self.publication);
            Ok(result)
        })?
    }

    /// Calls the live object, and does so again when the provider fails or is replaced meanwhile, until an instance of it
    /// has done what `action` asks for: only for what may be done twice, such as reading a block.
    ///
    /// # Errors
    /// [`Error::Gone`](crate::Error::Gone) when the provider is gone for good,
    /// [`Error::Stopping`](crate::Error::Stopping) when the caller is to end; and those of `action`.
    pub fn retry<R>(&self, mut action: impl FnMut(&T) -> Result<R>) -> Result<R> {
        loop {
            match self.call(&mut action) {
                Ok(Err(Error::Stopping | Error::Gone)) | Err(_) => kernel::await_provider(self.publication)?,
                Ok(result) => return result,
            }
        }
    }
}

impl<T: Published + ?Sized> Clone for Handle<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Published + ?Sized> Copy for Handle<T> {}

/// Runs `action` as a call of that publication's provider.
///
/// # Errors
/// [`Error::Failed`](crate::Error::Failed) with what happened in the provider's code.
#[doc(hidden)]
#[inline]
pub fn enter<R>(publication: &'static Publication, action: impl FnOnce() -> R) -> Result<R> {
    guarded(Some(publication), || Ok::<R, Infallible>(action())).map_err(|ended| match ended {
        Ended::Refused(never) => match never {},
        // SAFETY: the call that has just been made ended with it.
        Ended::Failed(failure) => unsafe { kernel::caught(failure, publication) },
        Ended::TooDeep => too_deep(),
    })
}

#[cold]
fn too_deep() -> Error {
    Error::Invalid(alloc::format!("calls into modules are nested {MOST_CALLS} deep, and no deeper"))
}
