//! How a consumer calls what another module publishes.

use crate::registry::ProviderId;
use crate::running::{Block, MOST_CALLS, Publication};
use crate::{Error, Published, Result, kernel};
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::sync::atomic::{Ordering, fence};

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

    /// Calls the live object. The provider can't be removed until `action` has returned: keep it short.
    ///
    /// Whatever goes wrong inside of the provider ends here: when it panics, faults or takes too long, this returns an
    /// error, and the kernel starts the provider again. A panic of `action`'s own code goes on through the caller.
    ///
    /// # Errors
    /// [`Error::Failed`](crate::Error::Failed) when the provider failed during the call,
    /// [`Error::Restarting`](crate::Error::Restarting) while it is started again after that,
    /// [`Error::Gone`](crate::Error::Gone) when it has been removed and not replaced.
    #[inline]
    pub fn call<R>(&self, action: impl FnOnce(&T) -> R) -> Result<R> {
        let Some(entered) = Entered::new(self.publication) else { return Err(too_deep()) };
        let [object, vtable] = &self.publication.object;
        // Now that the call is noted nobody takes the object away, so that both halves are of one object.
        let object = [object.load(Ordering::Relaxed), vtable.load(Ordering::Relaxed)];
        if object[0] == 0 {
            return self.call_traced(entered, action);
        }
        // SAFETY: the registry puts only such pairs there, for the class that the publication is of; the object lives
        // as long as the call is noted.
        let object = unsafe { T::from_parts(object) };
        entered.run(|| action(object))
    }

    /// A call of what isn't there, or of what is hidden so that it can be traced.
    #[cold]
    #[inline(never)]
    fn call_traced<R>(&self, entered: Entered, action: impl FnOnce(&T) -> R) -> Result<R> {
        let object = kernel::call_begins(self.publication)?;
        let vtable = self.publication.object[1].load(Ordering::Relaxed);
        // SAFETY: as in `call`.
        let object = unsafe { T::from_parts([object, vtable]) };
        let result = entered.run(|| action(object));
        kernel::call_ends(self.publication);
        result
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
    Entered::new(publication).ok_or_else(too_deep)?.run(action)
}

/// A call that is noted in the thread's block; when this is dropped it is over.
struct Entered {
    publication: &'static Publication,
    block: &'static Block,
    /// How many calls there were before.
    depth: u32,
}

impl Entered {
    /// None if calls are nested too deep.
    #[inline]
    fn new(publication: &'static Publication) -> Option<Self> {
        #[cfg(target_os = "none")]
        let block = crate::running::block();
        #[cfg(not(target_os = "none"))]
        let block = kernel::block();
        let depth = block.depth.load(Ordering::Relaxed);
        let call = block.calls.get(depth as usize)?;
        call.publication.store((&raw const *publication).cast_mut(), Ordering::Relaxed);
        call.base.store(block.masked.load(Ordering::Relaxed).into(), Ordering::Relaxed);
        block.depth.store(depth + 1, Ordering::Relaxed);
        // Whoever takes the object away looks for calls after that; either sees the other.
        fence(Ordering::SeqCst);
        Some(Self { publication, block, depth })
    }

    #[inline]
    fn run<R>(self, action: impl FnOnce() -> R) -> Result<R> {
        catch(action, self.publication)
    }
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        // All that the call did comes before it is over.
        self.block.depth.store(self.depth, Ordering::Release);
    }
}

#[cold]
fn too_deep() -> Error {
    Error::Invalid(alloc::format!("calls into modules are nested {MOST_CALLS} deep, and no deeper"))
}

/// Runs `action`; what unwinds out of it is the kernel's to judge.
#[inline]
fn catch<F: FnOnce() -> R, R>(action: F, publication: &'static Publication) -> Result<R> {
    union Data<F, R> {
        action: ManuallyDrop<F>,
        result: ManuallyDrop<R>,
        exception: *mut u8,
    }
    #[inline]
    fn run<F: FnOnce() -> R, R>(data: *mut u8) {
        // SAFETY: `catch_unwind` passes on what it was given below, which holds the action, and nobody else uses it.
        let data = unsafe { &mut *data.cast::<Data<F, R>>() };
        // SAFETY: it holds the action, which is taken out once; from here on it holds the result.
        data.result = ManuallyDrop::new(unsafe { ManuallyDrop::take(&mut data.action) }());
    }
    #[inline]
    fn caught<F: FnOnce() -> R, R>(data: *mut u8, exception: *mut u8) {
        // SAFETY: as in `run`; the action is gone, since it was what unwound.
        unsafe { (*data.cast::<Data<F, R>>()).exception = exception }
    }
    let mut data = Data { action: ManuallyDrop::new(action) };
    // SAFETY: both functions take what they are given for what it is, and neither unwinds but through `action`.
    let unwound = unsafe { core::intrinsics::catch_unwind(run::<F, R>, (&raw mut data).cast(), caught::<F, R>) };
    if unwound != 0 {
        // SAFETY: `caught` has put it there.
        return Err(kernel::caught(unsafe { data.exception }, publication));
    }
    // SAFETY: `run` has put it there.
    Ok(ManuallyDrop::into_inner(unsafe { data.result }))
}
