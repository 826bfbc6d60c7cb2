//! Compiles the driver's C for the kernel's target.

fn main() {
    println!("cargo:rerun-if-changed=driver.c");
    // On other machines there is nothing that it could drive.
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "none") {
        cc::Build::new()
            .compiler("aarch64-linux-gnu-gcc")
            .target("aarch64-unknown-none")
            // What the kernel is compiled with: no vector registers, addresses that are fixed when the module is linked,
            // branches and returns that are checked.
            .flags([
                "-ffreestanding",
                "-mgeneral-regs-only",
                "-mno-outline-atomics",
                "-fno-pic",
                "-fno-stack-protector",
                "-mbranch-protection=standard",
            ])
            .file("driver.c")
            .compile("driver");
    }
}
