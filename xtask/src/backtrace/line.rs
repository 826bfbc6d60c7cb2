//! A line of a backtrace, as the kernel prints it (kernel/src/panic.rs).

use std::fmt;

/// What the kernel names in place of a function where it knows none of its own.
pub const NO_FUNCTION: &str = "kernel";

/// A place in the kernel or in a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The address.
    pub address: u64,
    /// The function, demangled, and how far into it that is; none if the kernel couldn't tell.
    pub function: Option<(&'a str, u64)>,
    /// The module, and how far into its instructions that is; none for the kernel.
    pub module: Option<(&'a str, u64)>,
}

impl<'a> Line<'a> {
    /// The place in a line, whatever stands before it.
    pub fn parse(line: &'a str) -> Option<Self> {
        const DIGITS: usize = 16;
        let (_, text) = line.split_once("0xffff")?;
        let (digits, text) = text.split_at_checked(DIGITS - "ffff".len())?;
        let address = u64::from_str_radix(&format!("ffff{digits}"), 16).ok()?;
        let text = text.strip_prefix(' ')?.trim_end();
        let with_module = text.strip_suffix(')').and_then(|text| text.rsplit_once(" ("));
        let module = with_module.and_then(|(_, module)| place(module));
        let function = if let (Some(_), Some((function, _))) = (module, with_module) { function } else { text };
        let function = place(function);
        (function.is_some() || module.is_some()).then_some(Self { address, function, module })
    }
}

/// `name+0x12` as its two halves.
fn place(text: &str) -> Option<(&str, u64)> {
    let (name, offset) = text.rsplit_once("+0x")?;
    Some((name, u64::from_str_radix(offset, 16).ok()?))
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#018x} ", self.address)?;
        match self.function {
            Some((name, offset)) => write!(formatter, "{name}+{offset:#x}")?,
            None => write!(formatter, "?")?,
        }
        match self.module {
            Some((name, offset)) => write!(formatter, " ({name}+{offset:#x})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_are_printed() {
        for text in [
            "0xffffffff80026a5c kernel::binding::bind+0x40",
            "0xffffffff8400e1c4 <virtio_net::VirtioNet as abi::driver::Driver>::probe+0x44 (virtio-net+0x1c4)",
            "0xffffffff8400e1c4 core::ptr::drop_in_place::<fn(u8) -> (u8, u16)>+0x8 (net+0xabcdef)",
            "0xffffffff8400e1c4 ? (test-null+0x10)",
        ] {
            assert_eq!(Line::parse(&format!("  {text}")).unwrap().to_string(), text);
            assert_eq!(Line::parse(&format!("[    1.000000] kernel: {text}")).unwrap().to_string(), text);
        }
        let line = Line::parse("  0xffffffff80026a5c <fn(u8) as core::ops::Fn<(u8,)>>::call+0x40").unwrap();
        assert_eq!(line.function, Some(("<fn(u8) as core::ops::Fn<(u8,)>>::call", 0x40)));
        assert_eq!(line.module, None);
    }

    #[test]
    fn other_lines_are_none() {
        for text in [
            "",
            "backtrace:",
            "0xffffffff80026a5c ?",
            "x0 ffffffff80026a5c  x1 0000000000000000",
            "exception: data access, read from 0xffff000000000000: nothing is mapped there",
            "arm-psci      8192  0xffffffff84000000  /psci",
            "0xffff",
        ] {
            assert_eq!(Line::parse(text), None, "{text}");
        }
    }
}
