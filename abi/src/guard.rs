//! The boundary between who calls a module and the module: what goes wrong behind it ends there.
//!
//! A call is noted in the thread's [`Block`] together with the place where the caller goes on, its [`Landing`]. A failure
//! leads there however it comes about, and whatever has become of the registers and the stack below: the caller keeps
//! nothing in registers that the kernel would have to find again, and all that it has kept itself is above the landing.

use crate::kernel;
use crate::running::{Block, Call, Landing, MOST_CALLS, Publication};
use core::mem::ManuallyDrop;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering, fence};

/// How a call ended that has no result.
pub enum Ended<E> {
    /// The action says so.
    Refused(E),
    /// It has failed; what the kernel knows of it is behind this pointer. The call is noted until the kernel has been told
    /// that it is over.
    Failed(*mut u8),
    /// It was not begun: calls are nested too deep.
    TooDeep,
}

/// What a guarded function returns when it has a result, and when it hasn't. Anything else is a failure's pointer.
const DONE: usize = 0;
const REFUSED: usize = 1;

/// What caller and callee pass to each other.
union Data<F, R, E> {
    action: ManuallyDrop<F>,
    result: ManuallyDrop<R>,
    refusal: ManuallyDrop<E>,
}

/// Runs `action` as a call of that publication's provider, or of nobody's. When it returns, it must have let go of all locks
/// that it took: otherwise it has failed.
///
/// # Errors
/// How it ended instead.
#[inline]
pub fn guarded<F, R, E>(publication: Option<&'static Publication>, action: F) -> Result<R, Ended<E>>
where
    F: FnOnce() -> Result<R, E>,
{
    let block = crate::running::block();
    let depth = block.depth.load(Ordering::Relaxed);
    let index = depth as usize;
    let spare = || if index < kernel::most_calls() { block.calls.get(index) } else { None };
    let call = if index < MOST_CALLS { block.calls.get(index) } else { cold(spare) };
    let Some(call) = call else { return Err(Ended::TooDeep) };
    note(call, block, publication);
    let mut data = Data { action: ManuallyDrop::new(action) };
    // SAFETY: the data is what `run` takes it for; the block and the call are the running thread's.
    let status = unsafe { call_run::<F, R, E>((&raw mut data).cast(), &call.landing, &block.depth, depth + 1) };
    if status > REFUSED {
        return Err(Ended::Failed(ptr::with_exposed_provenance_mut(status)));
    }
    if block.held() != call.base.load(Ordering::Relaxed)
        // SAFETY: the call has returned, and is noted until its failure has been told.
        && let Some(failure) = unsafe { kernel::kept_locks() }
    {
        return Err(Ended::Failed(failure.as_ptr()));
    }
    // All that the call did comes before it is over.
    block.depth.store(depth, Ordering::Release);
    if status == DONE {
        // SAFETY: `run` has put it there.
        Ok(ManuallyDrop::into_inner(unsafe { data.result }))
    } else {
        // SAFETY: `run` has put it there.
        Err(Ended::Refused(ManuallyDrop::into_inner(unsafe { data.refusal })))
    }
}

/// Runs the action, and puts what it returns in its place.
///
/// # Safety
/// `data` must be a [`Data`] of these types that holds an action, and nobody else may use it meanwhile.
#[inline]
unsafe extern "C-unwind" fn run<F: FnOnce() -> Result<R, E>, R, E>(data: *mut u8) -> usize {
    // Whoever takes an object away looks for calls after that; either sees the other.
    fence(Ordering::SeqCst);
    // SAFETY: the caller's obligation.
    let data = unsafe { &mut *data.cast::<Data<F, R, E>>() };
    // SAFETY: it holds the action, which is taken out once; from here on it holds what that returns.
    match unsafe { ManuallyDrop::take(&mut data.action) }() {
        Ok(result) => {
            data.result = ManuallyDrop::new(result);
            DONE
        }
        Err(refusal) => {
            data.refusal = ManuallyDrop::new(refusal);
            REFUSED
        }
    }
}

/// What is done so rarely that it should be out of the way.
#[cold]
#[inline(never)]
fn cold<R>(action: impl FnOnce() -> R) -> R {
    action()
}

#[inline]
fn note(call: &Call, block: &Block, publication: Option<&'static Publication>) {
    let publication = publication.map_or(ptr::null_mut(), |publication| ptr::from_ref(publication).cast_mut());
    call.publication.store(publication, Ordering::Relaxed);
    call.base.store(block.held(), Ordering::Relaxed);
}

/// Notes where to land and that the call has begun, and calls [`run`]. Returns what that returns, or the pointer that the kernel
/// lands with.
///
/// # Safety
/// As for [`run`]; the rest must be the running thread's.
#[cfg(target_os = "none")]
#[inline(always)]
unsafe fn call_run<F: FnOnce() -> Result<R, E>, R, E>(
    data: *mut u8,
    landing: &Landing,
    depth: &AtomicU32,
    deeper: u32,
) -> usize {
    let status;
    // SAFETY: the function keeps to the C calling convention, whose registers are given up here, and so are those that it
    // would have to preserve. The two that can't be are taken from the stack again, which is as it was: a function that
    // returns has restored the stack pointer, and the kernel lands with the one that is noted. Nothing unwinds through this:
    // it is where the kernel lands.
    unsafe {
        core::arch::asm!(
            "stp x19, x29, [sp, #-16]!",
            "mov x9, sp",
            "adr x10, 2f",
            "stp x9, x10, [x2]",
            "str w3, [x4]",
            "bl {run}",
            "2:",
            "ldp x19, x29, [sp], #16",
            run = sym run::<F, R, E>,
            inlateout("x0") data => status,
            in("x2") landing,
            in("w3") deeper,
            in("x4") depth,
            out("x20") _, out("x21") _, out("x22") _, out("x23") _, out("x24") _,
            out("x25") _, out("x26") _, out("x27") _, out("x28") _,
            clobber_abi("C"),
        );
    }
    status
}

/// The same where tests run, and a panic is all that goes wrong.
///
/// # Safety
/// As above.
#[cfg(not(target_os = "none"))]
unsafe fn call_run<F: FnOnce() -> Result<R, E>, R, E>(
    data: *mut u8,
    _landing: &Landing,
    depth: &AtomicU32,
    deeper: u32,
) -> usize {
    struct Call {
        data: *mut u8,
        status: usize,
    }
    fn attempt<F: FnOnce() -> Result<R, E>, R, E>(call: *mut u8) {
        // SAFETY: it is the call below.
        let call = unsafe { &mut *call.cast::<Call>() };
        // SAFETY: the caller's obligation.
        call.status = unsafe { run::<F, R, E>(call.data) };
    }
    fn caught(call: *mut u8, exception: *mut u8) {
        // SAFETY: as above.
        unsafe { (*call.cast::<Call>()).status = exception.expose_provenance() };
    }
    depth.store(deeper, Ordering::Relaxed);
    let mut call = Call { data, status: DONE };
    // SAFETY: both functions take what they are given for what it is, and neither unwinds but through `run`.
    unsafe { core::intrinsics::catch_unwind(attempt::<F, R, E>, (&raw mut call).cast(), caught) };
    call.status
}
