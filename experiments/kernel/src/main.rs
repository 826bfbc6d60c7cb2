//! The image of the experiments' kernel: the kernel, and the tables that are made for it. They have a crate of their
//! own because they declare as bytes what the kernel knows as functions.
#![no_std]
#![no_main]

/// The table of exports and the stamp.
#[allow(missing_docs, reason = "generated")]
mod generated {
    #[cfg(feature = "exports")]
    include!(env!("LOCKSTEP_EXPORTS"));

    #[cfg(not(feature = "exports"))]
    pub static EXPORTS: loader::exports::ExportTable = loader::exports::ExportTable { starts: &[], exports: &[] };
    #[cfg(not(feature = "exports"))]
    pub static STAMP: &str = "";
}

/// Where `start.s` goes.
#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    experiment_kernel::run(&generated::EXPORTS, generated::STAMP)
}
