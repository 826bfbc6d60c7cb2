//! The contract of `experiments/contract`, and kernels and modules that are compiled against it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::workshop::{Module, Shared, Workshop, compile, records};
use crate::{exports, files, rlib};

/// A contract that was compiled.
pub struct Contract<'w> {
    shared: Shared<'w>,
    /// The library of the crate `order`.
    order: PathBuf,
    exports: BTreeSet<String>,
}

/// Whether a kernel has the table of exports.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Exports {
    Table,
    Nothing,
}

impl<'w> Contract<'w> {
    /// Compiles the contract with more flags, and the crate `order` with others. All contracts have the same
    /// `-C metadata`, none, so that names don't tell them apart.
    pub fn new(workshop: &'w Workshop<'w>, name: &str, flags: &[&str], order_flags: &[&str]) -> Result<Self> {
        let folder = workshop.folder(name)?;
        let mut rustc = workshop.rustc(&folder, "contract", name)?;
        compile(rustc.arg("--crate-type=lib").args(flags).arg("experiments/contract/src/lib.rs"))?;
        let rlib = folder.join(format!("libcontract-{name}.rlib"));
        let hash = records(&folder).hash(&rlib)?;
        let shared = workshop.share(folder, "contract", rlib, hash)?;

        let mut rustc = shared.rustc("order", name)?;
        compile(rustc.arg("--crate-type=lib").args(order_flags).arg("experiments/order/src/lib.rs"))?;
        let order = shared.folder.join(format!("liborder-{name}.rlib"));
        let mut contract = Self { shared, order, exports: BTreeSet::new() };
        contract.exports = contract.shared.exports(&contract.compile_kernel("first", &[])?)?;
        Ok(contract)
    }

    /// The crate's hash, by which rustc tells it from others.
    pub fn hash(&self) -> &str {
        &self.shared.own.hash
    }

    /// Compiles a module with more flags and links it.
    ///
    /// # Errors
    ///
    /// Among others when rustc refuses the flags; that error is a sentence of one line.
    pub fn module(&self, name: &str, flags: &[&str]) -> Result<Module> {
        let module = self.compile_module(name, flags)?;
        self.shared.link(name, &[&module, &self.order], &self.exports, &self.shared.stamp_of(&module)?)
    }

    /// The same, but with the contract's own code and statics in the module, as if nobody exported them.
    pub fn module_with_contract(&self, name: &str) -> Result<Module> {
        let module = self.compile_module(name, &[])?;
        let contract = &self.shared.own.path;
        let symbols = rlib::global_symbols(contract)?.into_iter();
        let own: BTreeSet<_> = symbols.filter(|symbol| symbol.defined).map(|symbol| symbol.name).collect();
        let exports = self.exports.difference(&own).cloned().collect();
        self.shared.link(name, &[&module, &self.order, contract], &exports, &self.shared.stamp_of(&module)?)
    }

    /// Compiles a kernel with more flags, links it with this kind of LTO, and returns its ELF file.
    ///
    /// # Errors
    ///
    /// Among others when rustc fails over the flags; that error is a sentence of one line.
    pub fn kernel(&self, name: &str, lto: &str, flags: &[&str], exports: Exports) -> Result<PathBuf> {
        let library = self.compile_kernel(name, flags)?;
        let workshop = self.shared.workshop;
        let mut rustc = self.rustc("image", name)?;
        rustc.arg("--crate-type=bin").arg(format!("-Clto={lto}")).args(flags);
        rustc.arg(format!("-Clinker={}", workshop.linker)).arg("-Clink-arg=-Texperiments/kernel/link.ld");
        rustc.arg(format!("--extern=experiment_kernel={}", library.display()));
        rustc.arg(format!("--extern=loader={}", workshop.library(&self.shared.folder, "loader")?.display()));
        if exports == Exports::Table {
            let source = self.shared.folder.join("exports.rs");
            files::write(&source, exports::source(&self.exports, &self.shared.stamp)?.as_bytes())?;
            rustc.args(["--cfg", "feature=\"exports\""]).env("LOCKSTEP_EXPORTS", source);
        }
        compile(rustc.arg("experiments/kernel/src/main.rs"))?;
        Ok(self.shared.folder.join(format!("image-{name}")))
    }

    fn compile_kernel(&self, name: &str, flags: &[&str]) -> Result<PathBuf> {
        let mut rustc = self.rustc("experiment_kernel", name)?;
        for library in ["initramfs", "loader", "stamp"] {
            let path = self.shared.workshop.library(&self.shared.folder, library)?;
            rustc.arg(format!("--extern={library}={}", path.display()));
        }
        compile(rustc.arg("--crate-type=lib").args(flags).arg("experiments/kernel/src/lib.rs"))?;
        Ok(self.shared.folder.join(format!("libexperiment_kernel-{name}.rlib")))
    }

    fn compile_module(&self, name: &str, flags: &[&str]) -> Result<PathBuf> {
        let variant = name.replace('/', "-");
        let mut rustc = self.rustc("module", &variant)?;
        compile(rustc.arg("--crate-type=lib").args(flags).arg("experiments/module/src/lib.rs"))?;
        Ok(self.shared.folder.join(format!("libmodule-{variant}.rlib")))
    }

    /// rustc for a crate that uses the contract and `order`.
    fn rustc(&self, crate_name: &str, variant: &str) -> Result<Command> {
        let mut rustc = self.shared.rustc(crate_name, variant)?;
        rustc.arg(format!("--extern=order={}", self.order.display()));
        Ok(rustc)
    }
}
