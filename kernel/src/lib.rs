#![no_std]
extern crate alloc;
use alloc::string::ToString;
pub fn main(){ let r = unwinding::panic::catch_unwind(|| { "x".to_string() }); core::hint::black_box(r.is_ok()); let m: fn(&abi::Module)->bool=|m| (m.probe)("x").is_ok(); core::hint::black_box(m);}
#[unsafe(no_mangle)] fn lockstep_signal(id:u64){ core::hint::black_box(id); }
#[panic_handler] fn panic(_:&core::panic::PanicInfo)->!{ unwinding::panic::begin_panic(alloc::boxed::Box::new(())); loop{} }
struct A; unsafe impl core::alloc::GlobalAlloc for A { unsafe fn alloc(&self,_:core::alloc::Layout)->*mut u8{core::ptr::null_mut()} unsafe fn dealloc(&self,_:*mut u8,_:core::alloc::Layout){} }
#[global_allocator] static G: A=A;
