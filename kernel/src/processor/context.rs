//! Switching from one thread's stack to another's.

core::arch::global_asm!(include_str!("context.s"));

/// A suspended thread: its stack pointer, below which `context_switch` has put what a function call preserves.
#[derive(Clone, Copy, Debug, Default)]
#[repr(transparent)]
pub struct Context(usize);

/// What `context_switch` pops: x19 to x30.
const SAVED: usize = 12;

impl Context {
    /// Where the suspended thread's stack ends: nothing below is in use.
    pub fn stack_pointer(self) -> usize {
        self.0
    }

    /// A thread that will start in `entry(argument)`, on the stack that ends at `stack_end`.
    ///
    /// # Safety
    /// The memory below `stack_end` (a multiple of 16) must be a writable stack that nobody uses.
    pub unsafe fn new(stack_end: usize, entry: extern "C" fn(usize) -> !, argument: usize) -> Self {
        let mut saved = [0usize; SAVED];
        saved[0] = argument;
        saved[1] = entry as usize;
        saved[11] = context_start as *const () as usize;
        let start = stack_end - size_of_val(&saved);
        // SAFETY: the caller guarantees the stack; `start` is aligned because `stack_end` is and the size is 96.
        unsafe { (start as *mut [usize; SAVED]).write(saved) };
        Self(start)
    }
}

/// Suspends the running thread into `from` and goes on with `to`; returns when somebody switches back.
///
/// # Safety
/// `to` must be a context made by [`Context::new`] or by this function, and not have been resumed since. `from` must
/// stay valid until the switch back. Interrupts must be masked.
pub unsafe fn switch(from: *mut Context, to: Context) {
    // SAFETY: the caller's obligations are those of the assembly.
    unsafe { context_switch(from, to) }
}

unsafe extern "C" {
    fn context_switch(from: *mut Context, to: Context);
    fn context_start();
}
